//! The classic format (draft-ietf-opsawg-pcap): a header, then records.

use std::io::BufRead;

use super::bytes::{Bytes, Order};
use super::{Captured, End, RECORD_BYTES_MAX, Trouble, ethernet};

/// What the first four bytes say.
#[derive(Clone, Copy)]
pub(super) struct Format {
    order: Order,
    /// Bytes of a record's header: two times, two lengths, and in one variant (Alexey Kuznetsov's) 8 more.
    header_bytes: usize,
}

impl Format {
    pub(super) fn of(magic: [u8; 4]) -> Option<Self> {
        let (order, magic) = match magic {
            [0xa1, ..] => (Order::Big, u32::from_be_bytes(magic)),
            _ => (Order::Little, u32::from_le_bytes(magic)),
        };
        match magic {
            // Microseconds, nanoseconds: what a frame is does not depend on when it came.
            0xa1b2_c3d4 | 0xa1b2_3c4d => Some(Self { order, header_bytes: 16 }),
            0xa1b2_cd34 => Some(Self { order, header_bytes: 24 }),
            _ => None,
        }
    }
}

/// Reads what follows the first four bytes.
pub(super) fn read(
    bytes: &mut Bytes<impl BufRead>,
    format: Format,
    visit: &mut impl FnMut(Captured<'_>) -> bool,
) -> Result<End, Trouble> {
    let Format { order, header_bytes } = format;
    let Some(header) = bytes.array::<20>()? else { return Ok(End::CutOff) };
    // The link type has 16 bits; above stand flags of the frame check sequence. A snap length stands there too, which
    // longer records contradict; the record is right, since the bytes are there.
    let link_type = (order.u32_at(&header, 16) & 0xffff) as u16;
    let (mut header, mut frame) = (Vec::new(), Vec::new());
    loop {
        let before = bytes.taken();
        if !bytes.take(header_bytes, &mut header)? {
            return Ok(if bytes.taken() == before { End::Whole } else { End::CutOff });
        }
        ethernet(link_type)?;
        let (captured, wire) = (order.u32_at(&header, 8), order.u32_at(&header, 12));
        let count = usize::try_from(captured).unwrap_or(usize::MAX);
        if count > RECORD_BYTES_MAX {
            return Err(Trouble::Damaged(format!(
                "its record claims to hold {captured} bytes; the capture is damaged here, or it is no capture"
            )));
        }
        if !bytes.take(count, &mut frame)? {
            return Ok(End::CutOff);
        }
        if !visit(Captured { bytes: &frame, wire_bytes: u64::from(wire.max(captured)) }) {
            return Ok(End::Whole);
        }
    }
}
