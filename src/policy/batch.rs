//! The simple frames of a burst, all at once: the same answers as [`decide`](super::decide), in an order that keeps the CPU
//! from waiting.
//!
//! Nearly every frame is plain TCP. [`sieve`] reads a burst at fixed offsets and leaves what must be looked at. For plain
//! IPv4 to a port that some class closes that is, nearly always: whose MAC is it, is the address his, what does his class
//! say ([`ByClass`])? All are asked before the first is answered, so that their table lines come in together, and no branch
//! depends on the verdict, which a sender could make unforeseeable.
//!
//! Whatever has no answer here goes to [`decide`](super::decide), which knows all the rules.

use super::identity::vm_side;
use super::{Settings, Snapshot};
use crate::model::{Direction, FrameSet, Mode, Scope, VlanId, VmIndex, Way};
use crate::packet::{self, Glance, Mark, PlainIpv4, Ports};
use crate::table::{Station, Stations};

/// What must be looked at in a burst. The other frames are forwarded without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sieved {
    /// Plain IPv4 to a port that some class closes, or on ingress from one. Where it always matters who a frame says it is:
    /// all plain IPv4.
    pub closed: FrameSet,
    /// Other [segments](crate::packet::Segment), over IPv6 or behind tags, to such a port.
    pub dressed: FrameSet,
    /// What else [`decide`](super::decide) must see.
    pub others: FrameSet,
}

/// Sieves a burst of at most 64 frames: out goes what is of a common shape and of ports that no class closes. For untagged TCP
/// over IPv4 that costs a few dozen instructions a frame and no branch on what a sender chooses; for the other shapes twice as
/// many, and a branch on what they are, but not on their ports. `heads` are the frames, or their first bytes; `head` gives one of
/// them.
#[inline(always)]
pub fn sieve<'f>(
    settings: &Settings,
    way: Way,
    heads: impl DoubleEndedIterator<Item = &'f [u8]>,
    head: impl Fn(usize) -> &'f [u8],
) -> Sieved {
    let marks = |port| settings.classes.marks(port);
    let refuses = settings.refuses_vlans(way.link);
    let refused = |head: &[u8]| refuses && settings.scope(way, packet::vlan(head)).is_none();
    // A loop each, so that none asks for the direction.
    match way.direction {
        Direction::Egress if settings.always_asks_who(way.direction) => sift(heads, head, |_| Mark::ALL, refused),
        Direction::Egress => sift(heads, head, |ports| marks(ports.destination), refused),
        Direction::Ingress => sift(heads, head, |ports| marks(ports.destination) | marks(ports.source), refused),
    }
}

/// Not inlined, so that the loop has all registers for itself.
#[inline(never)]
fn sift<'f>(
    heads: impl DoubleEndedIterator<Item = &'f [u8]>,
    head: impl Fn(usize) -> &'f [u8],
    marks: impl Fn(Ports) -> u8,
    refused: impl Fn(&[u8]) -> bool,
) -> Sieved {
    // The last frame first, so that each bit is shifted in from below.
    let (closed, doubtful) = heads.rev().fold((0_u64, 0_u64), |(closed, doubtful), head| {
        let Some(frame) = PlainIpv4::read(head) else { return (closed << 1, doubtful << 1 | 1) };
        let (wanted, doubt) = (marks(frame.ports()) & Mark::WANTED, frame.is_doubtful(head.len()));
        (closed << 1 | u64::from(wanted), doubtful << 1 | u64::from(doubt))
    });
    // Whatever is not untagged TCP over IPv4 is looked at apart: in the same loop every frame would pay for it.
    let (mut left, mut settled, mut dressed) = (doubtful, 0, 0);
    while left != 0 {
        let index = left.trailing_zeros();
        left &= left - 1;
        let head = head(index as usize);
        let glance = Glance::at(head);
        let passes = glance.passes(marks(glance.ports)) & !refused(head);
        settled |= u64::from(passes) << index;
        dressed |= u64::from(glance.is_segment()) << index;
    }
    let [closed, dressed, others] =
        [closed & !doubtful, dressed & !settled, doubtful & !settled & !dressed].map(FrameSet::from_bits);
    Sieved { closed, dressed, others }
}

/// Answers for frames that [`sieve`] calls closed, as long as classes alone decide.
#[derive(Clone, Copy, Debug)]
pub struct ByClass<'a> {
    snapshot: Snapshot<'a>,
    stations: Stations<'a>,
    scope: Scope,
    direction: Direction,
    /// Frames to ports that no class closes are among those asked about.
    always_asks_who: bool,
}

/// Asked of a frame, and not answered yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question {
    station: Station,
    /// The VM's address; 0 if there can be no answer.
    address: u32,
    ports: Ports,
}

impl Question {
    /// The port that it goes to.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        self.ports.destination
    }

    /// The port that it comes from.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        self.ports.source
    }
}

/// What the class of a frame's VM says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose frame it is.
    pub vm: VmIndex,
    /// Rule 7: denied for its destination port.
    pub port_closed: bool,
    /// Rule 8: denied for its source port.
    pub reply_closed: bool,
    /// Its sender is to be told that it was denied.
    pub rejects: bool,
    /// Some class closes its port, so it counts for its VM. If none does, all that was asked is whose it is.
    pub judged: bool,
}

impl<'a> ByClass<'a> {
    /// For a burst that enters here; nothing if more than classes decides there.
    #[inline]
    pub fn open(snapshot: Snapshot<'a>, way: Way) -> Option<Self> {
        let Snapshot { vms, settings, .. } = snapshot;
        // Plain frames have no tag, so they are not refused.
        let scope = settings.scope(way, VlanId(0)).unwrap_or_default();
        let stations = vms.stations(scope);
        let by_class = settings.judges(way.direction) && settings.mode == Mode::Enforce;
        let always_asks_who = settings.always_asks_who(way.direction);
        by_class.then_some(Self { snapshot, stations, scope, direction: way.direction, always_asks_who })
    }

    /// Begins to look up whose frame it is.
    #[inline(always)]
    pub fn ask(&self, head: &[u8]) -> Question {
        let Some(frame) = PlainIpv4::read(head) else { return Question::default() };
        let (mac, _) = vm_side(self.direction, frame.source_mac(), frame.destination_mac());
        let (address, peer) = vm_side(self.direction, frame.source(), frame.destination());
        let address = if self.snapshot.grants.is_relay(self.scope, peer.into()) { 0 } else { address.to_bits() };
        Question { station: self.stations.seek(mac), address, ports: frame.ports() }
    }

    /// The answer, if the MAC is a VM's and the address its own, and neither VM nor class is only
    /// watched, and the VM has no exceptions.
    ///
    /// # Errors
    /// There is no answer here; the VM that lists the MAC.
    #[inline(always)]
    pub fn answer(&self, question: &Question) -> Result<Answer, Option<VmIndex>> {
        let vm = self.stations.vm(question.station).ok_or(None)?;
        let state = self.snapshot.vms.state(vm);
        let class = self.snapshot.settings.classes.get(state.class);
        let agrees = question.address != 0 && state.ipv4.to_bits() == question.address;
        if !agrees || state.has_exceptions || state.mode != Mode::Enforce || class.mode != Mode::Enforce {
            return Err(Some(vm));
        }
        let Ports { source, destination } = question.ports;
        let port_closed = class.ports.contains(destination);
        let reply_closed = self.direction == Direction::Ingress && !port_closed && class.ports.contains(source);
        let judged = !self.always_asks_who || self.snapshot.settings.classes.any_closes(destination);
        let rejects = port_closed & (self.direction == Direction::Egress) & self.snapshot.settings.rejects(class);
        Ok(Answer { vm, port_closed, reply_closed, rejects, judged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkIndex;
    use crate::testkit::{FrameBuilder, NOBODY, PEER, RELAY, VM_A, VM_B, VM_C, World, frame, world};

    const EGRESS: Way = Way { link: LinkIndex(0), direction: Direction::Egress };

    fn sieved(direction: Direction, frames: &[Vec<u8>]) -> Sieved {
        sieve(&Settings::default(), Way { direction, ..EGRESS }, frames.iter().map(Vec::as_slice), |index| {
            &frames[index]
        })
    }

    fn said(closed: u64, dressed: u64, others: u64) -> Sieved {
        let [closed, dressed, others] = [closed, dressed, others].map(FrameSet::from_bits);
        Sieved { closed, dressed, others }
    }

    #[test]
    fn each_frame_has_its_bit() {
        let web = frame().from(VM_A).to(PEER).tcp(443);
        let frames = [
            web.clone().bytes(),
            frame().from(VM_A).to(PEER).tcp(25).bytes(),
            web.clone().ipv6().bytes(),
            frame().from(VM_A).to(PEER).tcp(25).ipv6().bytes(),
            web.clone().vlan(7).bytes(),
            frame().from(VM_A).to(PEER).udp(25).bytes(),
            web.cut(20).bytes(),
            Vec::new(),
            frame().from(PEER).to(VM_A).tcp_from(25).bytes(),
            frame().from(VM_A).to(PEER).tcp(25).vlan(7).bytes(),
            frame().from(VM_A).to(PEER).udp(443).ipv6().vlan(7).bytes(),
            frame().from(VM_A).to(PEER).udp(4789).bytes(),
        ];
        // IPv6 and tags to closed ports, UDP that is counted, what is cut short, tunnels.
        assert_eq!(sieved(Direction::Egress, &frames), said(0b10, 0b10_0000_1000, 0b1000_1110_0000));
        assert_eq!(sieved(Direction::Ingress, &frames), said(0b1_0000_0010, 0b10_0000_1000, 0b1000_1110_0000));
    }

    #[test]
    fn a_full_burst_has_as_many_bits() {
        let frames = vec![frame().from(VM_A).to(PEER).tcp(25).bytes(); 64];
        assert_eq!(sieved(Direction::Egress, &frames), said(u64::MAX, 0, 0));
        assert_eq!(sieved(Direction::Egress, &[]), said(0, 0, 0));
    }

    fn answer(world: &World, frame: FrameBuilder) -> Option<Answer> {
        let by_class = ByClass::open(world.snapshot(), EGRESS)?;
        by_class.answer(&by_class.ask(&frame.bytes())).ok()
    }

    #[test]
    fn the_class_answers_where_mac_and_address_agree() {
        let world = world().restricted(VM_A).unrestricted(VM_B).build();
        let mail = |vm| frame().from(vm).to(PEER).tcp(25);
        assert!(answer(&world, mail(VM_A)).unwrap().port_closed);
        assert!(!answer(&world, mail(VM_B)).unwrap().port_closed);
        for other in [mail(NOBODY), mail(VM_B.with_mac(VM_A.mac)), mail(VM_B.with_mac(NOBODY.mac))] {
            assert_eq!(answer(&world, other.clone()), None, "{other:?}");
        }
    }

    #[test]
    fn what_more_than_the_class_decides_has_no_answer_here() {
        let mail = || frame().from(VM_A).to(PEER).tcp(25);
        assert_eq!(answer(&world().monitored(VM_A).build(), mail()), None);
        assert_eq!(answer(&world().restricted(VM_A).box_monitors().build(), mail()), None);
        assert_eq!(answer(&world().restricted(VM_A).directions(&[Direction::Ingress]).build(), mail()), None);
        let watched = world().monitored_class("watched", &[25]).of_class(VM_C, "watched").build();
        assert_eq!(answer(&watched, frame().from(VM_C).to(PEER).tcp(25)), None);
        let relayed = world().restricted(VM_A).relay(RELAY, &[587]).build();
        assert_eq!(answer(&relayed, frame().from(VM_A).to(RELAY).tcp(25)), None);
        assert!(answer(&relayed, mail()).unwrap().port_closed);
    }
}
