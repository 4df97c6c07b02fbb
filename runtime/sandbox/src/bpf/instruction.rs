//! Instructions of the kernel's virtual machine, assembled by hand.

/// `struct bpf_insn` of the kernel's ABI.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// The target register in the low four bits, the source in the high four.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(cfg!(target_endian = "little"), "the two registers change places on big-endian machines");

/// A word, two bytes or one from memory: class LDX, sizes W, H and B, mode MEM.
pub(crate) const LOAD: u8 = 0x61;
pub(crate) const LOAD_HALF: u8 = 0x69;
pub(crate) const LOAD_BYTE: u8 = 0x71;
/// 32-bit arithmetic: class ALU, operand a register (X) or the immediate (K).
pub(crate) const MOVE_X: u8 = 0xbc;
pub(crate) const MOVE_K: u8 = 0xb4;
pub(crate) const AND_K: u8 = 0x54;
pub(crate) const SHIFT_RIGHT_K: u8 = 0x74;
/// The same of 64 bits, for addresses.
pub(crate) const MOVE_ADDRESS: u8 = 0xbf;
pub(crate) const ADD_TO_ADDRESS_K: u8 = 0x07;
/// Jump if not equal or if equal, 32 bits against the immediate: class JMP32.
pub(crate) const JUMP_NOT_EQUAL_K: u8 = 0x56;
pub(crate) const JUMP_EQUAL_K: u8 = 0x16;
/// A function of the kernel's, by its number.
pub(crate) const CALL: u8 = 0x85;
pub(crate) const EXIT: u8 = 0x95;

/// The answer, and the first argument: where what is decided on is described.
pub(crate) const RESULT: u8 = 0;
pub(crate) const CONTEXT: u8 = 1;

/// A word of what is decided on.
pub(crate) fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD, registers: register | CONTEXT << 4, offset, immediate: 0 }
}

pub(crate) fn with_immediate(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

/// The end: 1 allows, 0 denies.
pub(crate) fn answer(result: i32) -> [Instruction; 2] {
    [with_immediate(MOVE_K, RESULT, result), with_immediate(EXIT, RESULT, 0)]
}
