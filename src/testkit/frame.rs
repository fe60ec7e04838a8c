//! Frames, a sentence each.

use super::station::{PEER, Station, VM_A};

/// The types that announce a VLAN tag.
pub const ETHERTYPES_OF_TAGS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// What stands between the Ethernet addresses and the packet.
#[derive(Clone, Debug)]
enum Wrap {
    /// A VLAN tag: type and TCI.
    Tag(u16, u16),
    /// LLC/SNAP with this OUI.
    Snap([u8; 3]),
    /// LLC alone.
    Llc([u8; 3]),
}

/// What stands between the IP header and the transport.
#[derive(Clone, Debug)]
enum Link {
    /// A header of this kind; its first byte will name the next.
    Header(u8, Vec<u8>),
    /// A fragment header; in IPv4 the fields of the IP header.
    Fragment { offset: u16, more: bool },
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    source: Station,
    destination: Station,
    wraps: Vec<Wrap>,
    llc_length: Option<u16>,
    version: u8,
    version_field: Option<u8>,
    ihl_field: Option<u8>,
    length_field: Option<u16>,
    options: Vec<u8>,
    chain: Vec<Link>,
    identification: u16,
    protocol: u8,
    segment: Vec<u8>,
    segment_bytes: Option<usize>,
    /// Instead of an IP packet: a type and what follows it.
    not_ip: Option<(u16, Vec<u8>)>,
    padding: Vec<u8>,
    overrides: Vec<(usize, Vec<u8>)>,
    cut: Option<usize>,
}

/// A frame from [`VM_A`] to [`PEER`]: IPv4, TCP from port 40000 to 443, unless it is said otherwise.
#[must_use]
pub fn frame() -> FrameBuilder {
    FrameBuilder {
        source: VM_A,
        destination: PEER,
        wraps: Vec::new(),
        llc_length: None,
        version: 4,
        version_field: None,
        ihl_field: None,
        length_field: None,
        options: Vec::new(),
        chain: Vec::new(),
        identification: 7,
        protocol: TCP,
        segment: tcp(EPHEMERAL, 443, SYN),
        segment_bytes: None,
        not_ip: None,
        padding: Vec::new(),
        overrides: Vec::new(),
        cut: None,
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const AH: u8 = 51;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const SYN: u8 = 0x02;
const EPHEMERAL: u16 = 40000;

/// A TCP header without options (RFC 9293, 3.1).
fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), destination.to_be_bytes());
    vec![s0, s1, d0, d1, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]
}

impl FrameBuilder {
    /// Who sends it.
    #[must_use]
    pub fn from(mut self, source: Station) -> Self {
        self.source = source;
        self
    }

    /// Who is to receive it.
    #[must_use]
    pub fn to(mut self, destination: Station) -> Self {
        self.destination = destination;
        self
    }

    /// The same frame the other way: stations change places, ports stay.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        std::mem::swap(&mut self.source, &mut self.destination);
        self
    }

    /// IPv6 instead of IPv4.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.version = 6;
        self
    }

    /// An 802.1Q tag; 0 is a priority tag. The first one named is the outermost.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// A tag of this type; the upper four bits of `tci` are priority and DEI.
    #[must_use]
    pub fn tag(mut self, ether_type: u16, tci: u16) -> Self {
        self.wraps.push(Wrap::Tag(ether_type, tci));
        self
    }

    /// 802.3 with LLC/SNAP (RFC 1042), inside the tags named before.
    #[must_use]
    pub fn snap(self) -> Self {
        self.snap_oui([0, 0, 0])
    }

    /// SNAP with another OUI.
    #[must_use]
    pub fn snap_oui(mut self, oui: [u8; 3]) -> Self {
        self.wraps.push(Wrap::Snap(oui));
        self
    }

    /// 802.3 with LLC SAP 06 and no type.
    #[must_use]
    pub fn sap_06(self) -> Self {
        self.llc([6, 6, 3])
    }

    /// 802.3 with this LLC header and no type.
    #[must_use]
    pub fn llc(mut self, header: [u8; 3]) -> Self {
        self.wraps.push(Wrap::Llc(header));
        self
    }

    /// What 802.3 says instead of the true length.
    #[must_use]
    pub fn llc_length(mut self, length: u16) -> Self {
        self.llc_length = Some(length);
        self
    }

    /// IPv4 options; multiples of four bytes unless the IHL is overridden.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// A header of `bytes` bytes between IP and transport, zeros but for its length: AH (51) in units of four bytes,
    /// others of eight. IPv4 has AH alone.
    #[must_use]
    pub fn extension(self, kind: u8, bytes: usize) -> Self {
        let units = if kind == AH { bytes / 4 - 2 } else { bytes / 8 - 1 };
        let mut header = vec![0; bytes];
        *header.get_mut(1).unwrap() = u8::try_from(units).unwrap();
        self.header(kind, &header)
    }

    /// A header with exactly these bytes; the first will name what follows it.
    #[must_use]
    pub fn header(mut self, kind: u8, bytes: &[u8]) -> Self {
        self.chain.push(Link::Header(kind, bytes.to_vec()));
        self
    }

    /// An IPv6 routing header.
    #[must_use]
    pub fn routing(self, segments_left: u8) -> Self {
        self.header(ROUTING, &[0, 2, 0, segments_left, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Makes it a fragment: offset in units of eight bytes. In IPv6 headers named before stand before the fragment
    /// header, others behind it.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.chain.push(Link::Fragment { offset, more });
        self
    }

    /// Which packet it is a fragment of.
    #[must_use]
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// A TCP SYN to this port.
    #[must_use]
    pub fn tcp(self, destination: u16) -> Self {
        self.tcp_ports(EPHEMERAL, destination)
    }

    /// A TCP SYN from this port, to a port that nobody closes.
    #[must_use]
    pub fn tcp_from(self, source: u16) -> Self {
        self.tcp_ports(source, EPHEMERAL)
    }

    /// A TCP SYN between these ports.
    #[must_use]
    pub fn tcp_ports(self, source: u16, destination: u16) -> Self {
        self.protocol(TCP, &tcp(source, destination, SYN))
    }

    /// Other TCP flags.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        *self.segment.get_mut(13).unwrap() = flags;
        self
    }

    /// A UDP datagram to this port.
    #[must_use]
    pub fn udp(self, destination: u16) -> Self {
        self.udp_ports(EPHEMERAL, destination)
    }

    /// A UDP datagram between these ports.
    #[must_use]
    pub fn udp_ports(self, source: u16, destination: u16) -> Self {
        let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), destination.to_be_bytes());
        self.protocol(UDP, &[s0, s1, d0, d1, 0, 8, 0, 0])
    }

    /// Any protocol with any bytes.
    #[must_use]
    pub fn protocol(mut self, protocol: u8, segment: &[u8]) -> Self {
        (self.protocol, self.segment) = (protocol, segment.to_vec());
        self
    }

    /// Bytes behind the transport header.
    #[must_use]
    pub fn data(mut self, data: &[u8]) -> Self {
        self.segment.extend(data);
        self
    }

    /// Only so many bytes of the transport segment; the IP header knows.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: usize) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Not IP at all.
    #[must_use]
    pub fn ether(mut self, ether_type: u16, bytes: &[u8]) -> Self {
        self.not_ip = Some((ether_type, bytes.to_vec()));
        self
    }

    /// The length field of IPv6, whatever the true length.
    #[must_use]
    pub fn payload_length(mut self, bytes: u16) -> Self {
        self.length_field = Some(bytes);
        self
    }

    /// The length field of IPv4, whatever the true length.
    #[must_use]
    pub fn total_length(self, bytes: u16) -> Self {
        self.payload_length(bytes)
    }

    /// The version field, whatever the type says.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.version_field = Some(version);
        self
    }

    /// IPv4's header length in words, whatever the true length.
    #[must_use]
    pub fn ihl(mut self, words: u8) -> Self {
        self.ihl_field = Some(words);
        self
    }

    /// Bytes behind the packet.
    #[must_use]
    pub fn padding(mut self, bytes: &[u8]) -> Self {
        self.padding = bytes.to_vec();
        self
    }

    /// Other bytes at this place of the frame.
    #[must_use]
    pub fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.overrides.push((at, bytes.to_vec()));
        self
    }

    /// Only the first bytes of the frame; the headers do not know.
    #[must_use]
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (mut ether_type, mut body) = match &self.not_ip {
            Some((ether_type, bytes)) => (*ether_type, bytes.clone()),
            None if self.version == 6 => (0x86dd, self.ipv6_packet()),
            None => (0x0800, self.ipv4_packet()),
        };
        body.extend(&self.padding);
        for wrap in self.wraps.iter().rev() {
            let mut outer = Vec::with_capacity(body.len() + 8);
            match wrap {
                Wrap::Tag(_, tci) => outer.extend([tci.to_be_bytes(), ether_type.to_be_bytes()].concat()),
                Wrap::Snap(oui) => {
                    outer.extend([0xaa, 0xaa, 3]);
                    outer.extend(oui);
                    outer.extend(ether_type.to_be_bytes());
                }
                Wrap::Llc(header) => outer.extend(header),
            }
            outer.extend(body);
            body = outer;
            ether_type = match wrap {
                Wrap::Tag(ether_type, _) => *ether_type,
                // Without a false length 802.3 says the true one, up to the largest that is one.
                _ => self.llc_length.unwrap_or_else(|| u16::try_from(body.len().min(1500)).unwrap()),
            };
        }
        let mut frame = [&self.destination.mac.0[..], &self.source.mac.0, &ether_type.to_be_bytes(), &body].concat();
        for (at, bytes) in &self.overrides {
            frame.get_mut(*at..at + bytes.len()).unwrap().copy_from_slice(bytes);
        }
        frame.truncate(self.cut.unwrap_or(usize::MAX));
        frame
    }

    fn ipv4_packet(&self) -> Vec<u8> {
        let (source, destination) = (self.source.ipv4.octets(), self.destination.ipv4.octets());
        let fragment = self.chain.iter().find_map(|link| match *link {
            Link::Fragment { offset, more } => Some(offset | u16::from(more) << 13),
            Link::Header(..) => None,
        });
        let (protocol, payload) = self.payload(&source, &destination, false);
        let words = self.ihl_field.unwrap_or_else(|| u8::try_from(5 + self.options.len() / 4).unwrap());
        let true_length = 20 + self.options.len() + payload.len();
        let length = self.length_field.unwrap_or_else(|| u16::try_from(true_length).unwrap());
        let version = self.version_field.unwrap_or(4);
        let mut header = vec![version << 4 | words, 0];
        header.extend(length.to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(fragment.unwrap_or(0).to_be_bytes());
        header.extend([64, protocol, 0, 0]);
        header.extend(source);
        header.extend(destination);
        header.extend(&self.options);
        let sum = checksum(&header).to_be_bytes();
        header.get_mut(10..12).unwrap().copy_from_slice(&sum);
        header.extend(payload);
        header
    }

    fn ipv6_packet(&self) -> Vec<u8> {
        let (source, destination) = (self.source.ipv6.octets(), self.destination.ipv6.octets());
        let (next, payload) = self.payload(&source, &destination, true);
        let length = self.length_field.unwrap_or_else(|| u16::try_from(payload.len()).unwrap());
        let mut packet = vec![self.version_field.unwrap_or(6) << 4, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    /// The chain and the segment behind it, and the protocol that the IP header names.
    fn payload(&self, source: &[u8], destination: &[u8], ipv6: bool) -> (u8, Vec<u8>) {
        let mut segment = self.segment.clone();
        let field = match self.protocol {
            TCP => segment.get(16..18).map(|_| 16..18),
            UDP => segment.get(6..8).map(|_| 6..8),
            _ => None,
        };
        if let Some(field) = field {
            if self.protocol == UDP {
                let length = u16::try_from(segment.len()).unwrap().to_be_bytes();
                segment.get_mut(4..6).unwrap().copy_from_slice(&length);
            }
            let length = u32::try_from(segment.len()).unwrap().to_be_bytes();
            let pseudo_header = [source, destination, &length, &[0, 0, 0, self.protocol]].concat();
            let sum = checksum(&[&pseudo_header[..], &segment].concat()).to_be_bytes();
            segment.get_mut(field).unwrap().copy_from_slice(&sum);
        }
        segment.truncate(self.segment_bytes.unwrap_or(usize::MAX));
        self.chain.iter().rev().fold((self.protocol, segment), |(next, rest), link| match link {
            Link::Header(kind, bytes) => {
                let mut header = bytes.clone();
                if let Some(first) = header.first_mut() {
                    *first = next;
                }
                (*kind, [header, rest].concat())
            }
            Link::Fragment { offset, more } if ipv6 => {
                let [o0, o1] = (offset << 3 | u16::from(*more)).to_be_bytes();
                let [i0, i1] = self.identification.to_be_bytes();
                (FRAGMENT, [vec![next, 0, o0, o1, 0, 0, i0, i1], rest].concat())
            }
            Link::Fragment { .. } => (next, rest),
        })
    }
}

impl From<FrameBuilder> for Vec<u8> {
    fn from(frame: FrameBuilder) -> Self {
        frame.bytes()
    }
}

impl From<&FrameBuilder> for Vec<u8> {
    fn from(frame: &FrameBuilder) -> Self {
        frame.bytes()
    }
}

/// The checksum of IP, TCP and UDP (RFC 1071) over bytes in which its own field is zero.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum = words.fold(0u32, |sum, word| ((sum + word) & 0xffff) + ((sum + word) >> 16));
    !u16::try_from(sum).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_segment_is_what_the_rfcs_say() {
        let bytes = frame().tcp(25).bytes();
        assert_eq!(bytes.len(), 14 + 20 + 20);
        assert_eq!(bytes[..14], [0x52, 0x54, 0, 0xee, 0xee, 1, 0x52, 0x54, 0, 0, 0, 1, 8, 0]);
        assert_eq!(bytes[14..18], [0x45, 0, 0, 40]);
        assert_eq!(bytes[36..38], [0, 25]);
        assert_eq!(checksum(&bytes[14..34]), 0, "a header with its checksum adds up to nothing");
    }

    #[test]
    fn wraps_nest_in_the_order_they_are_named() {
        let bytes = frame().tag(0x88a8, 5).vlan(7).snap().tcp(25).bytes();
        let expected = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 0, 48, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45];
        assert_eq!(bytes[12..31], expected);
    }

    #[test]
    fn ipv6_headers_name_each_other() {
        let bytes = frame().ipv6().extension(0, 8).fragment(0, true).extension(60, 16).tcp(25).bytes();
        assert_eq!((bytes[20], bytes[54], bytes[62], bytes[70]), (0, 44, 60, 6));
        assert_eq!(bytes[62..66], [60, 0, 0, 1]);
    }
}
