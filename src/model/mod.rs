//! The nouns that both planes, the wire and the tools share: numbers that must not be mixed up, addresses, directions.
//!
//! Nothing here does anything: what follows from a noun stands where it is used. Values are in host order.

mod direction;
mod ids;
mod ip;
mod key;
mod mac;
mod moment;
mod peer;
mod role;
mod set;

pub use self::direction::{Direction, Mode, Way};
pub use self::ids::{Boot, ClassId, LinkIndex, Revision, Scope, VlanId, VmIndex};
pub use self::ip::{Family, IpWords};
pub use self::key::{Address, Key};
pub use self::mac::MacAddr;
pub use self::moment::Moment;
pub use self::peer::Peer;
pub use self::role::{Principal, Role};
pub use self::set::FrameSet;
