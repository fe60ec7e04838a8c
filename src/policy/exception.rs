//! Exceptions of single VMs, as workers have them: few VMs have any, so they stand apart from the table.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use quanta::{Clock, Instant};

use super::{Classes, Parted, PortRange};
use crate::model::{ClassId, VmIndex};

/// What one VM may do though its class closes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Unique among those of its VM; for people.
    pub name: Box<str>,
    /// Whom it is about; everybody if nothing is said.
    pub peer: Option<IpNet>,
    /// What it opens.
    pub opens: Opens,
    /// When it is over, by the clock of the workers; never if nothing is said.
    pub until: Option<Instant>,
}

/// What an exception opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// These ports.
    Ports(Box<[PortRange]>),
    /// Whatever this class does not close.
    AllBut(ClassId),
}

/// What is wanted open.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// A port towards a peer.
    Port(IpAddr, u16),
    /// Every port, whoever the peer is.
    Everything,
}

impl Exception {
    fn opens(&self, classes: &Classes, wanted: Wanted) -> bool {
        let closed = |class: &ClassId| &classes.get(*class).ports;
        match (wanted, &self.opens) {
            (Wanted::Port(peer, port), opens) => {
                let opens_port = match opens {
                    Opens::Ports(ranges) => ranges.iter().any(|range| range.contains(port)),
                    Opens::AllBut(class) => !closed(class).contains(port),
                };
                opens_port && self.peer.is_none_or(|prefix| prefix.contains(&peer))
            }
            (Wanted::Everything, Opens::AllBut(class)) => self.peer.is_none() && closed(class).is_empty(),
            (Wanted::Everything, Opens::Ports(_)) => false,
        }
    }
}

/// The exceptions of every VM that has one, and the clock by which they end.
#[derive(Clone, Debug)]
pub struct Exceptions {
    of: Parted<Arc<[Exception]>>,
    clock: Clock,
}

impl Exceptions {
    /// None, to end by a clock.
    #[must_use]
    pub fn none(clock: Clock) -> Self {
        Self { of: Parted::default(), clock }
    }

    /// Makes these a VM's.
    pub fn put(&mut self, vm: VmIndex, exceptions: Vec<Exception>) {
        self.of.put(vm, (!exceptions.is_empty()).then(|| exceptions.into()));
    }

    /// One of a VM's that opens what is wanted, now.
    #[must_use]
    pub fn opening(&self, vm: VmIndex, classes: &Classes, wanted: Wanted) -> Option<&Exception> {
        let of_vm = self.of.get(vm)?;
        let is_over = |until| self.clock.now() >= until;
        // The clock is read last, and only for what it would end.
        of_vm.iter().find(|one| one.opens(classes, wanted) && !one.until.is_some_and(is_over))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Class;

    const VM: VmIndex = VmIndex(300);

    fn exception(name: &str, opens: Opens) -> Exception {
        Exception { name: name.into(), peer: None, opens, until: None }
    }

    fn ports(first: u16, last: u16) -> Opens {
        Opens::Ports([PortRange { first, last }].into())
    }

    fn peer() -> IpAddr {
        "192.0.2.9".parse().unwrap()
    }

    fn name(found: Option<&Exception>) -> Option<&str> {
        found.map(|exception| &*exception.name)
    }

    #[test]
    fn an_exception_opens_its_ports_and_no_others() {
        let (classes, clock) = (Classes::default(), Clock::mock().0);
        let mut all = Exceptions::none(clock);
        all.put(VM, vec![exception("mail", ports(25, 26))]);
        let opening = |all: &Exceptions, vm, wanted| name(all.opening(vm, &classes, wanted)).map(str::to_owned);
        let mail = Some("mail".to_owned());
        let opened = [24, 25, 26, 27].map(|port| opening(&all, VM, Wanted::Port(peer(), port)));
        assert_eq!(opened, [None, mail.clone(), mail.clone(), None]);
        assert_eq!(opening(&all, VM, Wanted::Everything), None);
        let port = Wanted::Port(peer(), 25);
        assert_eq!(opening(&all, VmIndex(44), port), None, "300 and 44 share a part");
        let before = all.clone();
        all.put(VM, Vec::new());
        assert_eq!(opening(&all, VM, port), None);
        assert_eq!(opening(&before, VM, port), mail, "who has them keeps them");
    }

    #[test]
    fn a_class_opens_what_it_does_not_close() {
        let restricted = Classes::default().get(ClassId::RESTRICTED).clone();
        let ports = [PortRange::from(25)].into_iter().collect();
        let own = Class { name: "mta-only".into(), ports, ..restricted.clone() };
        let classes = Classes::new(restricted, [own]).unwrap();
        let opened = |exception: Exception| {
            let mut all = Exceptions::none(Clock::mock().0);
            all.put(VM, vec![exception]);
            [Wanted::Port(peer(), 25), Wanted::Port(peer(), 587), Wanted::Everything]
                .map(|wanted| all.opening(VM, &classes, wanted).is_some())
        };
        assert_eq!(opened(exception("mta", Opens::AllBut(ClassId(2)))), [false, true, false]);
        let all = || exception("all", Opens::AllBut(ClassId::UNRESTRICTED));
        assert_eq!(opened(all()), [true; 3]);
        let of_peer = Exception { peer: Some(peer().into()), ..all() };
        assert_eq!(opened(of_peer), [true, true, false], "what hides may go elsewhere");
    }

    #[test]
    fn it_is_about_its_peer_until_it_is_over() {
        let (classes, (clock, time)) = (Classes::default(), Clock::mock());
        let until = clock.now() + Duration::from_secs(60);
        let prefix = Some("192.0.2.0/24".parse().unwrap());
        let mut all = Exceptions::none(clock);
        all.put(VM, vec![Exception { peer: prefix, until: Some(until), ..exception("mail", ports(25, 25)) }]);
        let opens = |peer: &str| all.opening(VM, &classes, Wanted::Port(peer.parse().unwrap(), 25)).is_some();
        assert!(opens("192.0.2.9") && !opens("198.51.100.9") && !opens("2001:db8::9"));
        time.increment(Duration::from_nanos(59_999_999_999));
        assert!(opens("192.0.2.9"));
        time.increment(Duration::from_nanos(1));
        assert!(!opens("192.0.2.9"), "at its end it is over");
    }
}
