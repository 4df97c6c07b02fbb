//! A device policy as BPF instructions, assembled by hand.
//!
//! The kernel runs the program on every open and `mknod` of a device with three words: what is
//! wanted (what kind of device in the low half, which accesses in the high half), the major and the
//! minor number. 1 allows, 0 denies.

use super::{Access, DeviceError, DeviceKind, DeviceRule};
use crate::bpf::instruction::{
    AND_K, Instruction, JUMP_NOT_EQUAL_K, MOVE_X, SHIFT_RIGHT_K, answer, load, with_immediate,
};

/// Far above any policy, and small enough that every jump fits its 16 bits and every program the
/// verifier's limits.
pub(super) const RULES_MAX: usize = 64;

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

/// Leaves the rule where a register has another value; [`rule`] fills in where to.
fn unless(register: u8, value: i32) -> Instruction {
    with_immediate(JUMP_NOT_EQUAL_K, register, value)
}

#[cfg(test)]
mod tests;
