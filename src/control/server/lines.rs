//! Lines of a stream, as long as they may be and no longer.

use std::io::{self, Read};

use super::CHUNK_BYTES;

/// Lines of a stream, in memory for one line of the longest that may be and a chunk.
pub(super) struct Lines<R> {
    pub(super) stream: R,
    line_bytes_max: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    taken: usize,
}

/// What comes next.
pub(super) enum Next<'a> {
    /// Without its LF.
    Line(&'a [u8]),
    /// The other side is done.
    End,
    /// The other side is done in the middle of a line.
    Cut,
    /// More bytes than a line may have.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(stream: R, line_bytes_max: usize) -> Self {
        Self { stream, line_bytes_max, buffer: Vec::new(), taken: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.len() < CHUNK_BYTES {
            self.buffer.shrink_to(2 * CHUNK_BYTES); // After a long line.
        }
        let mut searched = 0;
        let length = loop {
            let end = self.buffer.iter().skip(searched).position(|&byte| byte == b'\n').map(|at| searched + at);
            match end {
                Some(length) if length <= self.line_bytes_max => break length,
                None if self.buffer.len() <= self.line_bytes_max => {}
                _ => return Ok(Next::TooLong),
            }
            searched = self.buffer.len();
            if !self.fill()? {
                let blank = self.buffer.iter().all(u8::is_ascii_whitespace);
                return Ok(if blank { Next::End } else { Next::Cut });
            }
        };
        self.taken = length + 1;
        Ok(Next::Line(self.buffer.get(..length).unwrap_or_default()))
    }

    /// Reads a chunk more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK_BYTES, 0);
        let read = loop {
            match self.stream.read(self.buffer.get_mut(length..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], max: usize) -> Vec<String> {
        let mut lines = Lines::new(text, max);
        let mut seen = Vec::new();
        loop {
            match lines.next().unwrap() {
                Next::Line(line) => seen.push(String::from_utf8(line.to_vec()).unwrap()),
                Next::End => break,
                Next::Cut => {
                    seen.push("(cut)".into());
                    break;
                }
                Next::TooLong => {
                    seen.push("(too long)".into());
                    break;
                }
            }
        }
        seen
    }

    #[test]
    fn lines_end_with_lf_and_only_then_count() {
        assert_eq!(lines(b"a\n\nbc\n", 10), ["a", "", "bc"]);
        assert_eq!(lines(b"a\nbc", 10), ["a", "(cut)"]);
        assert_eq!(lines(b"a\n \t", 10), ["a"]);
        assert_eq!(lines(b"", 10), [""; 0]);
        assert_eq!(lines(b"12345\n123456\n1\n", 5), ["12345", "(too long)"]);
        assert_eq!(lines(b"123456", 5), ["(too long)"]);
        let long = format!("{}\nb\n", "a".repeat(3 * CHUNK_BYTES));
        assert_eq!(lines(long.as_bytes(), 1 << 20)[1], "b");
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_long_one() {
        let mut lines = Lines::new(io::repeat(b'x'), 1 << 20);
        assert!(matches!(lines.next().unwrap(), Next::TooLong));
        assert!(lines.buffer.capacity() <= 4 << 20, "{}", lines.buffer.capacity());
    }

    #[test]
    fn memory_of_a_long_line_is_given_back() {
        let long = format!("{}\nb\n", "a".repeat(1 << 20));
        let mut lines = Lines::new(long.as_bytes(), 1 << 20);
        assert!(matches!(lines.next().unwrap(), Next::Line(_)));
        assert!(matches!(lines.next().unwrap(), Next::Line(b"b")));
        assert!(lines.buffer.capacity() <= 4 * CHUNK_BYTES, "{}", lines.buffer.capacity());
    }
}
