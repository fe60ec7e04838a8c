//! The newer format (draft-ietf-opsawg-pcapng): blocks in sections. Options and comments are passed over unread.

use std::io::BufRead;

use super::bytes::{Bytes, Order};
use super::{Captured, End, RECORD_BYTES_MAX, Trouble, ethernet};

/// The type of a section header, the same in either byte order.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2; // obsolete
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length in front of a block, length behind it.
const FRAMING_BYTES: usize = 12;

/// What is known of an interface.
struct Interface {
    link_type: u16,
    /// Most bytes of a packet that were captured; 0 is all of them.
    snap_bytes: u32,
}

/// Reads what follows the type of the first block.
pub(super) fn read(
    bytes: &mut Bytes<impl BufRead>,
    visit: &mut impl FnMut(Captured<'_>) -> bool,
) -> Result<End, Trouble> {
    let mut order = Order::Little;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut body = Vec::new();
    let mut kind = SECTION_HEADER;
    loop {
        let Some(length) = bytes.array::<4>()? else { return Ok(End::CutOff) };
        if kind == SECTION_HEADER {
            // Its length can be read only after the magic behind it.
            let Some(magic) = bytes.array::<4>()? else { return Ok(End::CutOff) };
            order = match magic {
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                _ => return Err(Trouble::Damaged("the section before it has no byte-order magic".into())),
            };
            interfaces.clear();
        }
        let (length, taken) = (order.u32(length), if kind == SECTION_HEADER { 4 } else { 0 });
        let count = usize::try_from(length).unwrap_or(usize::MAX);
        let rest = count.checked_sub(FRAMING_BYTES + taken).filter(|_| count <= RECORD_BYTES_MAX);
        let Some(rest) = rest else {
            return Err(Trouble::Damaged(format!("its block, or one before it, claims to have {length} bytes")));
        };
        if !bytes.take(rest, &mut body)? {
            return Ok(End::CutOff);
        }
        let Some(again) = bytes.array::<4>()? else { return Ok(End::CutOff) };
        if order.u32(again) != length {
            let again = order.u32(again);
            let what = format!("its block, or one before it, begins with length {length} and ends with {again}");
            return Err(Trouble::Damaged(what));
        }
        let packet = match order.u32(kind) {
            _ if kind == SECTION_HEADER => None,
            INTERFACE_DESCRIPTION => {
                let link_type = body.first_chunk().map_or(0, |&bytes| order.u16(bytes));
                interfaces.push(Interface { link_type, snap_bytes: order.u32_at(&body, 4) });
                None
            }
            ENHANCED_PACKET => Some((order.u32_at(&body, 0), order.u32_at(&body, 12), order.u32_at(&body, 16), 20)),
            PACKET => {
                let interface = body.first_chunk().map_or(0, |&bytes| order.u16(bytes));
                Some((interface.into(), order.u32_at(&body, 12), order.u32_at(&body, 16), 20))
            }
            SIMPLE_PACKET => {
                let wire = order.u32_at(&body, 0);
                let snap = interfaces.first().map_or(0, |interface| interface.snap_bytes);
                Some((0, if snap == 0 { wire } else { wire.min(snap) }, wire, 4))
            }
            _ => None,
        };
        if let Some((interface, captured, wire, at)) = packet {
            let known = usize::try_from(interface).ok().and_then(|interface| interfaces.get(interface));
            let Some(known) = known else {
                let what =
                    format!("it came in by interface {interface}, and the section describes {}", interfaces.len());
                return Err(Trouble::Damaged(what));
            };
            ethernet(known.link_type)?;
            let end = usize::try_from(captured).unwrap_or(usize::MAX).saturating_add(at);
            let Some(frame) = body.get(at..end) else {
                let what = format!("it claims to have {captured} bytes in a block of {length}");
                return Err(Trouble::Damaged(what));
            };
            if !visit(Captured { bytes: frame, wire_bytes: u64::from(wire.max(captured)) }) {
                return Ok(End::Whole);
            }
        }
        let before = bytes.taken();
        kind = match bytes.array::<4>()? {
            Some(kind) => kind,
            None => return Ok(if bytes.taken() == before { End::Whole } else { End::CutOff }),
        };
    }
}
