//! What a helper may send: everything but what stays on the node.
//!
//! The kernel sends every packet to an address of its own, whichever it is, by the loopback device; so that device is
//! what is looked at, and no list of addresses has to be kept. Let through are questions to the resolver that the
//! node itself asks, where that is on the node.
//!
//! Of what is for a group of machines the kernel keeps a copy for the node, which no such program sees; so nothing is
//! sent to groups, nor to everybody.

use std::net::Ipv4Addr;

use crate::bpf::{
    Hook,
    instruction::{
        ADD_TO_ADDRESS_K, AND_K, CALL, Instruction, JUMP_EQUAL_K, JUMP_NOT_EQUAL_K, LOAD as LOAD_WORD, LOAD_BYTE,
        LOAD_HALF, MOVE_ADDRESS, MOVE_K, RESULT, answer, load, with_immediate,
    },
};

/// In every network namespace.
const LOOPBACK_INDEX: i32 = 1;
/// Where `struct __sk_buff` has the protocol, in network order, and the device that a packet leaves by.
const PROTOCOL: i16 = 16;
const DEVICE: i16 = 40;
/// `ETH_P_IP` in network order.
const IPV4: i32 = 0x0008;
/// `bpf_skb_load_bytes(skb, offset, to, length)`; a packet begins with its IP header here.
const LOAD_BYTES: i32 = 26;

/// What is looked at of a packet: an IP header without options, and the ports behind it.
const LOOKED_AT: i16 = 24;
const VERSION_AND_LENGTH: i16 = 0;
const FRAGMENT: i16 = 6;
const TRANSPORT: i16 = 9;
const DESTINATION: i16 = 16;
const PORT: i16 = 22;
/// Version 4, five words.
const PLAIN: i32 = 0x45;
/// Everything of the two bytes but "don't fragment", as a little-endian machine reads them.
const IS_FRAGMENT: i32 = 0xff3f;
const TCP: i32 = 6;
const UDP: i32 = 17;
/// 53 in network order.
const DNS: i32 = 0x3500;

const VALUE: u8 = 2;
const TO: u8 = 3;
const LENGTH: u8 = 4;
const STACK: u8 = 10;

/// A step, and where it goes on where it is a jump.
enum Step {
    Plain(Instruction),
    Unless(i32, End),
    EndIf(i32, End),
    If(i32, usize),
}

#[derive(Clone, Copy)]
enum End {
    Allow,
    Deny,
}

/// All that a helper's group is given.
pub(super) fn programs(resolver: Option<Ipv4Addr>) -> [(Hook, Vec<Instruction>); 5] {
    [
        (Hook::Egress, packets(resolver)),
        (Hook::Connect4, addresses_4()),
        (Hook::Send4, addresses_4()),
        (Hook::Connect6, addresses_6()),
        (Hook::Send6, addresses_6()),
    ]
}

/// Where `struct bpf_sock_addr` has addresses, in network order.
const ADDRESS_4: i16 = 4;
const ADDRESS_6: i16 = 8;
/// The third word of an address of version 4 that is written as one of version 6.
const MAPPED: i32 = i32::from_ne_bytes([0, 0, 0xff, 0xff]);

fn addresses_4() -> Vec<Instruction> {
    assemble(no_group_at(ADDRESS_4).into())
}

/// Not 224.0.0.0/4, nor 255.255.255.255, where the context has an address.
fn no_group_at(place: i16) -> [Step; 5] {
    [
        Step::Plain(load(VALUE, place)),
        Step::Plain(with_immediate(AND_K, VALUE, 0xf0)),
        Step::EndIf(0xe0, End::Deny),
        Step::Plain(load(VALUE, place)),
        Step::EndIf(-1, End::Deny),
    ]
}

/// Not ff00::/8; nor the same of version 4 as ::ffff:0:0/96, of which the kernel asks here and not above.
fn addresses_6() -> Vec<Instruction> {
    let word = |number: i16| Step::Plain(load(VALUE, ADDRESS_6 + 4 * number));
    let mut steps = vec![
        word(0),
        Step::Plain(with_immediate(AND_K, VALUE, 0xff)),
        Step::EndIf(0xff, End::Deny),
        word(0),
        Step::Unless(0, End::Allow),
        word(1),
        Step::Unless(0, End::Allow),
        word(2),
        Step::Unless(MAPPED, End::Allow),
    ];
    steps.extend(no_group_at(ADDRESS_6 + 12));
    assemble(steps)
}

fn packets(resolver: Option<Ipv4Addr>) -> Vec<Instruction> {
    let mut steps = vec![Step::Plain(load(VALUE, DEVICE)), Step::Unless(LOOPBACK_INDEX, End::Allow)];
    match resolver {
        Some(resolver) => steps.extend(questions_to(resolver)),
        // What is on the way to the loopback device is none of these.
        None => steps.push(Step::Unless(0, End::Deny)),
    }
    assemble(steps)
}

/// What gets to the end of the steps is allowed.
fn assemble(steps: Vec<Step>) -> Vec<Instruction> {
    let allow = steps.len();
    let to = |end: End, next: usize| match end {
        End::Allow => allow - next,
        End::Deny => allow + answer(1).len() - next,
    };
    let jump = |code, value, distance: usize| Instruction {
        offset: i16::try_from(distance).unwrap_or(i16::MAX),
        ..with_immediate(code, VALUE, value)
    };
    let placed = steps.into_iter().zip(1..).map(|(step, next)| match step {
        Step::Plain(instruction) => instruction,
        Step::Unless(value, end) => jump(JUMP_NOT_EQUAL_K, value, to(end, next)),
        Step::EndIf(value, end) => jump(JUMP_EQUAL_K, value, to(end, next)),
        Step::If(value, skipped) => jump(JUMP_EQUAL_K, value, skipped),
    });
    placed.chain(answer(1)).chain(answer(0)).collect()
}

/// Goes on only with an unfragmented packet over TCP or UDP to the resolver's port.
fn questions_to(resolver: Ipv4Addr) -> Vec<Step> {
    let of_stack = |code, offset: i16| {
        Step::Plain(Instruction { code, registers: VALUE | STACK << 4, offset: offset - LOOKED_AT, immediate: 0 })
    };
    let plain = |code, register, immediate| Step::Plain(with_immediate(code, register, immediate));
    let address = |code, register, source: u8, immediate| {
        Step::Plain(Instruction { code, registers: register | source << 4, offset: 0, immediate })
    };
    vec![
        Step::Plain(load(VALUE, PROTOCOL)),
        Step::Unless(IPV4, End::Deny),
        // Of the context nothing is needed after the call.
        address(MOVE_ADDRESS, TO, STACK, 0),
        address(ADD_TO_ADDRESS_K, TO, 0, -i32::from(LOOKED_AT)),
        plain(MOVE_K, VALUE, 0),
        plain(MOVE_K, LENGTH, i32::from(LOOKED_AT)),
        plain(CALL, 0, LOAD_BYTES),
        address(MOVE_ADDRESS, VALUE, RESULT, 0),
        Step::Unless(0, End::Deny),
        of_stack(LOAD_BYTE, VERSION_AND_LENGTH),
        Step::Unless(PLAIN, End::Deny),
        of_stack(LOAD_HALF, FRAGMENT),
        plain(AND_K, VALUE, IS_FRAGMENT),
        Step::Unless(0, End::Deny),
        of_stack(LOAD_BYTE, TRANSPORT),
        Step::If(UDP, 1),
        Step::Unless(TCP, End::Deny),
        of_stack(LOAD_WORD, DESTINATION),
        Step::Unless(i32::from_ne_bytes(resolver.octets()), End::Deny),
        of_stack(LOAD_HALF, PORT),
        Step::Unless(DNS, End::Deny),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bpf;

    #[test]
    fn the_kernel_takes_them() {
        assert!(nix::unistd::geteuid().is_root(), "needs root");
        for resolver in [None, Some(Ipv4Addr::new(127, 0, 0, 53))] {
            for (hook, program) in programs(resolver) {
                bpf::load(hook, &program).unwrap_or_else(|error| panic!("{hook:?}: {error}"));
            }
        }
    }
}
