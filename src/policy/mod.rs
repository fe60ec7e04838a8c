//! What the box decides, and why: the contract of `docs/policy.md` in code.
//!
//! One line to remember: **mail ports fail closed, everything else fails open, and both are counted.** One pure
//! function decides ([`decide`]); the data plane, `replay` and every explanation call it, so they cannot disagree.
//!
//! Where the contract leaves room, this is what we do:
//! - *Which reason names a denied frame that neither of two VMs might have had?* That of the VM which counts it.
//! - *Which VM counts a contradicted frame?* The one its MAC names, else the one its IP address names.
//! - *Monitor mode* of a VM or class needs a frame without any finding; the box's own covers every judged frame.
//! - *The unknown class* in monitor mode watches unknown frames too: nothing contradicts them.
//! - *A relay* covers an unrestricted VM's frames as well (the first match decides, so they count as `excepted`). On
//!   ingress it covers its answers only: it never opens a VM's own closed port.
//! - *An exception* covers a frame to which something is closed, and opens all of that; so `excepted` says how often one was
//!   needed. It is a privilege of its VM and needs, unlike a relay, evidence that agrees.
//! - *Addresses of an opaque frame can be read* when the IP version is right and the fixed header is there. Where they
//!   cannot, a router's or an unlisted MAC names nobody: what `restricted` closes is closed beside the unknown class.
//! - *A VM that lists no address* is known by its MAC alone, from a link-local address (fe80::/10) too.
//! - *A direction that is not judged* forwards everything but runts; what is seen on the way is still counted.

mod batch;
mod class;
mod decide;
pub mod document;
mod exception;
mod explain;
mod grant;
mod guards;
mod identity;
mod parted;
mod record;
mod relay;
mod routers;
mod scopes;
mod settings;
mod snapshot;
mod strict;
mod verdict;

pub use batch::{ByClass, Question, Sieved, sieve};
pub use class::{Class, Classes, PortRange, PortSet, RESTRICTED, TooManyClasses, UNRESTRICTED};
pub use decide::{Case, Decision, Examined, Judgement, Subject, decide, examine, judge};
#[cfg(test)]
pub use exception::Wanted;
pub use exception::{Exception, Exceptions, Opens};
pub use explain::{ClassBecause, Grounds, VmFacts, explain};
pub use grant::Grants;
pub use guards::{Guard, Guards};
pub use identity::{Finding, Named, Sought};
pub use parted::Parted;
pub use record::Record;
pub use relay::{Members, Relay, RelayAt, RelayInForce};
pub use routers::{LinkRouter, Routers};
pub use scopes::VlanScopes;
pub use settings::{Deny, IdentityLevel, Origin, PublicIpv4, RejectRate, Settings};
pub use snapshot::{Reader, Rules, Snapshot};
pub use strict::{examine_strictly, judge_strictly};
pub use verdict::{DropReason, Observed, Tally, Verdict};
