#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;
use crate::{
    bpf::instruction::{CONTEXT, EXIT, LOAD, MOVE_K, RESULT},
    devices::WORKER_DEVICES,
};

/// Runs a program on what the kernel would give it. Knows the instructions that are used and no
/// others.
fn run(program: &[Instruction], context: [u32; 3]) -> u32 {
    let mut registers = [0_u32; 11];
    let mut at = 0_usize;
    loop {
        let Instruction { code, registers: pair, offset, immediate } = program[at];
        let (target, source) = (usize::from(pair & 15), usize::from(pair >> 4));
        let immediate = immediate.cast_unsigned();
        at += 1;
        match code {
            LOAD => {
                assert_eq!(source, usize::from(CONTEXT));
                registers[target] = context[usize::try_from(offset).unwrap() / 4];
            }
            MOVE_X => registers[target] = registers[source],
            MOVE_K => registers[target] = immediate,
            AND_K => registers[target] &= immediate,
            SHIFT_RIGHT_K => registers[target] >>= immediate,
            JUMP_NOT_EQUAL_K if registers[target] != immediate => at += usize::try_from(offset).unwrap(),
            JUMP_NOT_EQUAL_K => {}
            EXIT => return registers[usize::from(RESULT)],
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn allows(rules: &[DeviceRule], kind: i32, major: u32, minor: u32, access: i32) -> bool {
    let wanted = (access << 16 | kind).cast_unsigned();
    match run(&assemble(rules).unwrap(), [wanted, major, minor]) {
        0 => false,
        1 => true,
        other => panic!("answer {other}"),
    }
}

#[test]
fn one_rule_is_these_instructions() {
    let bytes: Vec<[u8; 8]> = assemble(&WORKER_DEVICES[..1])
        .unwrap()
        .iter()
        .map(|instruction| {
            let [low, high] = instruction.offset.to_le_bytes();
            let [a, b, c, d] = instruction.immediate.to_le_bytes();
            [instruction.code, instruction.registers, low, high, a, b, c, d]
        })
        .collect();
    let expected: [[u8; 8]; 16] = [
        [0x61, 0x12, 0, 0, 0, 0, 0, 0],       // w2 = what is wanted
        [0xbc, 0x23, 0, 0, 0, 0, 0, 0],       // w3 = w2
        [0x54, 0x03, 0, 0, 0xff, 0xff, 0, 0], // w3 &= 0xffff
        [0x74, 0x02, 0, 0, 16, 0, 0, 0],      // w2 >>= 16
        [0x61, 0x14, 4, 0, 0, 0, 0, 0],       // w4 = major
        [0x61, 0x15, 8, 0, 0, 0, 0, 0],       // w5 = minor
        [0x56, 0x03, 7, 0, 2, 0, 0, 0],       // if w3 != char goto deny
        [0x56, 0x04, 6, 0, 1, 0, 0, 0],       // if w4 != 1 goto deny
        [0x56, 0x05, 5, 0, 3, 0, 0, 0],       // if w5 != 3 goto deny
        [0xbc, 0x26, 0, 0, 0, 0, 0, 0],       // w6 = w2
        [0x54, 0x06, 0, 0, 1, 0, 0, 0],       // w6 &= mknod
        [0x56, 0x06, 2, 0, 0, 0, 0, 0],       // if w6 != 0 goto deny
        [0xb4, 0x00, 0, 0, 1, 0, 0, 0],       // w0 = 1
        [0x95, 0x00, 0, 0, 0, 0, 0, 0],       // exit
        [0xb4, 0x00, 0, 0, 0, 0, 0, 0],       // deny: w0 = 0
        [0x95, 0x00, 0, 0, 0, 0, 0, 0],       // exit
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn a_worker_uses_its_devices_and_no_others() {
    for minor in [3, 5, 7, 8, 9] {
        for access in [0, ACCESS_READ, ACCESS_WRITE, ACCESS_READ | ACCESS_WRITE] {
            assert!(allows(&WORKER_DEVICES, KIND_CHAR, 1, minor, access), "1:{minor} {access}");
        }
        for access in [ACCESS_MKNOD, ACCESS_MKNOD | ACCESS_READ] {
            assert!(!allows(&WORKER_DEVICES, KIND_CHAR, 1, minor, access), "1:{minor} {access}");
        }
        assert!(!allows(&WORKER_DEVICES, KIND_BLOCK, 1, minor, ACCESS_READ));
    }
    for (major, minor) in [(1, 1), (1, 4), (1, 11), (5, 2), (10, 200), (136, 3), (0x1_0001, 3), (1, 0x8000_0003)] {
        assert!(!allows(&WORKER_DEVICES, KIND_CHAR, major, minor, ACCESS_READ), "{major}:{minor}");
    }
}

#[test]
fn two_rules_do_not_add_up() {
    let only = |read, write| Access { read, write, mknod: false };
    let rule = |access| DeviceRule { access, ..WORKER_DEVICES[0] };
    let rules = [rule(only(true, false)), rule(only(false, true))];
    assert!(allows(&rules, KIND_CHAR, 1, 3, ACCESS_READ));
    assert!(allows(&rules, KIND_CHAR, 1, 3, ACCESS_WRITE));
    assert!(!allows(&rules, KIND_CHAR, 1, 3, ACCESS_READ | ACCESS_WRITE));
}

#[test]
fn no_rules_deny_and_too_many_are_refused() {
    assert!(!allows(&[], KIND_CHAR, 1, 3, ACCESS_READ));
    assert!(assemble(&[WORKER_DEVICES[0]; RULES_MAX]).is_ok());
    assert!(assemble(&[WORKER_DEVICES[0]; RULES_MAX + 1]).is_err());
    assert_eq!(run(&answer(1), [0; 3]), 1);
}

prop_compose! {
    /// Small numbers, so that rules and wants often meet.
    fn any_rule()(is_block: bool, major in 0_u32..4, minor in proptest::option::of(0_u32..4),
                  read: bool, write: bool, mknod: bool) -> DeviceRule {
        let kind = if is_block { DeviceKind::Block } else { DeviceKind::Char };
        DeviceRule { kind, major, minor, access: Access { read, write, mknod } }
    }
}

proptest! {
    #[test]
    fn a_program_decides_as_its_rules_say(
        rules in proptest::collection::vec(any_rule(), 0..6), is_block: bool,
        major in 0_u32..4, minor in 0_u32..4, access in 0..8,
    ) {
        let (kind, kind_bits) = if is_block { (DeviceKind::Block, KIND_BLOCK) } else { (DeviceKind::Char, KIND_CHAR) };
        let expected = rules.iter().any(|rule| {
            rule.kind == kind
                && rule.major == major
                && rule.minor.is_none_or(|allowed| allowed == minor)
                && (access & ACCESS_READ == 0 || rule.access.read)
                && (access & ACCESS_WRITE == 0 || rule.access.write)
                && (access & ACCESS_MKNOD == 0 || rule.access.mknod)
        });
        prop_assert_eq!(allows(&rules, kind_bits, major, minor, access), expected);
    }
}
