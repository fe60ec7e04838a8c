//! Who looks and who answers, beside what a worker does without them.

use super::{Answered, Pipeline, Responder, Witness};
use crate::model::{Direction, VmIndex, Way};
use crate::policy::{DropReason, Finding, Observed, Record, Settings, Tally, Verdict};
use crate::port::Frames;
use crate::port::memory::Frame;
use crate::testkit::{FrameBuilder, NOBODY, PEER, RELAY, VM_A, VM_B, VM_C, World, frame, world};

/// Remembers what it saw: record, first bytes, length.
#[derive(Default)]
struct Notes(Vec<(Record, Vec<u8>, usize)>);

impl Witness for Notes {
    const LOOKS: bool = true;

    fn wants(&mut self, _: Way, _: Verdict, _: Option<VmIndex>, _: &[u8]) -> bool {
        true
    }

    fn saw(&mut self, record: &Record, head: &[u8], length: usize) {
        self.0.push((*record, head.to_vec(), length));
    }
}

/// Answers each denied frame with "no" and its length, if it is longer than this.
#[derive(Default)]
struct No(usize);

impl Responder for No {
    const ANSWERS: bool = true;

    fn answer<F: Frames>(&mut self, _: &Settings, _: &Record, burst: &mut F, index: usize) -> Answered {
        let length = burst.length(index);
        let Some([n, o, rest @ ..]) = burst.rewrite(index, 4).filter(|_| length > self.0) else {
            return Answered::No;
        };
        (*n, *o) = (b'n', b'o');
        rest.copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        Answered::Yes
    }
}

fn a_world() -> World {
    world().restricted(VM_A).unrestricted(VM_B).monitored(VM_C).relay(RELAY, &[587]).rejects().build()
}

fn frames() -> Vec<FrameBuilder> {
    let mail = |vm| frame().from(vm).to(PEER).tcp(25);
    vec![
        frame().from(VM_A).to(PEER).tcp(443),
        mail(VM_A),
        mail(VM_B),
        mail(VM_A.with_ips_of(VM_B)),
        mail(VM_A).vlan(7),
        frame().from(VM_A).to(RELAY).tcp(587),
        mail(VM_C),
        mail(NOBODY).ipv6(),
        frame().from(VM_A).to(PEER).udp(25),
        mail(VM_A),
    ]
}

fn sent(world: &World, number: usize, capacity: usize, no: No) -> (super::super::testkit::Run, Notes) {
    let bytes: Vec<Vec<u8>> = frames().into_iter().cycle().take(number).map(|frame| frame.bytes()).collect();
    let (run, (notes, _)) = world.run_with(
        Direction::Egress,
        bytes.iter().map(|bytes| Frame::from(&bytes[..])),
        capacity,
        Pipeline::new(Notes::default(), no),
    );
    (run, notes)
}

#[test]
fn a_witness_sees_what_is_not_simply_forwarded_and_nothing_else() {
    let world = a_world();
    let (run, notes) = sent(&world, 10, usize::MAX, No(usize::MAX));
    let said: Vec<_> = notes
        .0
        .iter()
        .map(|(record, head, length)| {
            assert_eq!(head.len(), *length, "all of it, in one piece");
            (record.verdict, record.vm.map(|vm| world.name(Some(vm))), record.tally, record.finding, record.observed)
        })
        .collect();
    let a = || Some(VM_A.id.to_owned());
    let drop = |reason, vm, finding| (Verdict::Drop(reason), vm, Some(Tally::Denied), finding, None);
    let mut expected = vec![
        drop(DropReason::PortClosed, a(), None),
        drop(DropReason::SpoofIp, a(), Some(Finding::SpoofIp)),
        drop(DropReason::PortClosed, a(), None),
        (Verdict::Forward, a(), Some(Tally::Excepted), None, Some(Observed::Excepted)),
        (Verdict::WouldDrop(DropReason::PortClosed), Some(VM_C.id.to_owned()), Some(Tally::WouldDeny), None, None),
        drop(DropReason::PortClosed, None, None),
        (Verdict::Forward, None, None, None, Some(Observed::UdpMail)),
        drop(DropReason::PortClosed, a(), None),
    ];
    // The plain ones are told of first, since they are answered first.
    let key = |row: &(Verdict, Option<String>, Option<Tally>, Option<Finding>, Option<Observed>)| format!("{row:?}");
    let mut said = said;
    said.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(said, expected);
    assert_eq!((run.sent.len(), run.replied.len()), (5, 0));
}

#[test]
fn answers_go_back_and_are_no_part_of_the_balance() {
    let world = a_world();
    // More than one burst, so that places shift in each.
    let (run, notes) = sent(&world, 250, usize::MAX, No(0));
    let (silent, silent_notes) = sent(&world, 250, usize::MAX, No(usize::MAX));
    assert_eq!(run.sent, silent.sent, "what is forwarded does not depend on answers");
    assert_eq!(notes.0.len(), silent_notes.0.len());
    let told = run.lane.drops.iter().sum::<u64>() - run.lane.dropped(DropReason::SpoofIp);
    assert_eq!(run.replied.len() as u64, told, "all that are denied but who is not who he says");
    assert_eq!(run.lane.seen(Observed::RejectSent), told);
    assert!(run.lane.is_balanced() && run.lane.tx == run.sent.len() as u64);
    let (v4, v6) = (frames()[1].clone().bytes().len(), frames()[7].clone().bytes().len());
    assert!(run.replied.iter().all(|reply| reply.starts_with(b"no")));
    assert!(run.replied.iter().any(|reply| usize::from(reply[3]) == v4));
    assert!(run.replied.iter().any(|reply| usize::from(reply[3]) == v6));
    assert_eq!(run.judged(Some(VmIndex(0))).denied, silent.judged(Some(VmIndex(0))).denied);
}

#[test]
fn some_are_answered_and_some_are_not() {
    let (v4, tagged) = (frames()[1].clone().bytes().len(), frames()[4].clone().bytes().len());
    assert!(tagged > v4);
    let (run, _) = sent(&a_world(), 130, usize::MAX, No(v4));
    let drops: u64 = run.lane.drops.iter().sum();
    assert!(!run.replied.is_empty() && (run.replied.len() as u64) < drops);
    assert!(run.replied.iter().all(|reply| usize::from(reply[3]) > v4));
}
