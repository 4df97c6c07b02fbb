//! A device policy as BPF instructions, assembled by hand.
//!
//! The kernel runs the program on every open and `mknod` of a device with three words: what is
//! wanted (what kind of device in the low half, which accesses in the high half), the major and the
//! minor number. 1 allows, 0 denies.

use super::{Access, DeviceError, DeviceKind, DeviceRule};

/// Far above any policy, and small enough that every jump fits its 16 bits and every program the
/// verifier's limits.
pub(super) const RULES_MAX: usize = 64;

/// `struct bpf_insn` of the kernel's ABI.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// The target register in the low four bits, the source in the high four.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(cfg!(target_endian = "little"), "the two registers change places on big-endian machines");

/// A word from memory: class LDX, size W, mode MEM.
pub(super) const LOAD: u8 = 0x61;
/// 32-bit arithmetic: class ALU, operand a register (X) or the immediate (K).
pub(super) const MOVE_X: u8 = 0xbc;
pub(super) const MOVE_K: u8 = 0xb4;
pub(super) const AND_K: u8 = 0x54;
pub(super) const SHIFT_RIGHT_K: u8 = 0x74;
/// Jump if not equal, 32 bits against the immediate: class JMP32.
pub(super) const JUMP_NOT_EQUAL_K: u8 = 0x56;
pub(super) const EXIT: u8 = 0x95;

/// The answer, and the first argument: where the three words are.
pub(super) const RESULT: u8 = 0;
pub(super) const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const EXCESS: u8 = 6;

pub(super) const ACCESS_MKNOD: i32 = 1;
pub(super) const ACCESS_READ: i32 = 2;
pub(super) const ACCESS_WRITE: i32 = 4;
const ACCESS_ALL: i32 = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
pub(super) const KIND_BLOCK: i32 = 1;
pub(super) const KIND_CHAR: i32 = 2;

/// The program that allows what any one of `rules` allows in full, and denies the rest.
pub(super) fn assemble(rules: &[DeviceRule]) -> Result<Vec<Instruction>, DeviceError> {
    if rules.len() > RULES_MAX {
        return Err(DeviceError::TooManyRules { rules: rules.len(), limit: RULES_MAX });
    }
    let mut program = vec![
        load(ACCESS, 0),
        Instruction { code: MOVE_X, registers: KIND | ACCESS << 4, offset: 0, immediate: 0 },
        with_immediate(AND_K, KIND, 0xffff),
        with_immediate(SHIFT_RIGHT_K, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    program.extend(rules.iter().flat_map(rule));
    program.extend(answer(0));
    Ok(program)
}

/// The program that allows everything.
pub(super) fn allow_all() -> Vec<Instruction> {
    answer(1).to_vec()
}

/// Answers 1 where the rule covers what is wanted, else falls through to what follows.
fn rule(rule: &DeviceRule) -> Vec<Instruction> {
    let kind = match rule.kind {
        DeviceKind::Char => KIND_CHAR,
        DeviceKind::Block => KIND_BLOCK,
    };
    // The kernel's words are unsigned; equality does not see the sign.
    let mut steps = vec![unless(KIND, kind), unless(MAJOR, rule.major.cast_signed())];
    steps.extend(rule.minor.map(|minor| unless(MINOR, minor.cast_signed())));
    steps.push(Instruction { code: MOVE_X, registers: EXCESS | ACCESS << 4, offset: 0, immediate: 0 });
    steps.push(with_immediate(AND_K, EXCESS, ACCESS_ALL & !bits(rule.access)));
    steps.push(unless(EXCESS, 0));
    steps.extend(answer(1));
    let end = i16::try_from(steps.len()).unwrap_or(i16::MAX);
    for (step, next) in steps.iter_mut().zip(1..) {
        if step.code == JUMP_NOT_EQUAL_K {
            step.offset = end - next;
        }
    }
    steps
}

fn bits(access: Access) -> i32 {
    let bit = |is_allowed: bool, bit: i32| if is_allowed { bit } else { 0 };
    bit(access.read, ACCESS_READ) | bit(access.write, ACCESS_WRITE) | bit(access.mknod, ACCESS_MKNOD)
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD, registers: register | CONTEXT << 4, offset, immediate: 0 }
}

/// Leaves the rule where a register has another value; [`rule`] fills in where to.
fn unless(register: u8, value: i32) -> Instruction {
    with_immediate(JUMP_NOT_EQUAL_K, register, value)
}

fn with_immediate(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn answer(result: i32) -> [Instruction; 2] {
    [with_immediate(MOVE_K, RESULT, result), with_immediate(EXIT, RESULT, 0)]
}

#[cfg(test)]
mod tests;
