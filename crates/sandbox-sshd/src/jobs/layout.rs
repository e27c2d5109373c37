//! Where the bytes of a job's output are in its log: the first ones in their places, the last ones in
//! a ring behind them. No I/O.

/// The places of an output in a file of limited size.
///
/// A position counts all bytes of the output. Those below `head` are stored, those from `head` to
/// `tail` are left out, and those from `tail` to `end` are stored.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bytes of the file before the ring.
    fixed: u64,
    /// Bytes of the ring.
    ring: u64,
    head: u64,
    tail: u64,
    end: u64,
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Layout {
    /// Describes an empty file that will have at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        let fixed = limit.div_ceil(2);
        Self {
            fixed,
            ring: limit - fixed,
            head: 0,
            tail: 0,
            end: 0,
        }
    }

    /// The number of bytes of the output.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The number of bytes that are left out.
    pub(super) fn omitted(&self) -> u64 {
        self.tail - self.head
    }

    /// The number of bytes that are left out from this position on.
    pub(super) fn omitted_from(&self, position: u64) -> u64 {
        if position < self.head {
            0
        } else {
            self.tail.saturating_sub(position)
        }
    }

    /// The place for the next bytes. Its length is zero if none can be stored.
    pub(super) fn next_place(&self) -> Place {
        self.place(self.end, u64::MAX)
    }

    /// The place of stored bytes, up to where they continue in another place.
    pub(super) fn place_of(&self, position: u64) -> Place {
        let end = if position < self.head {
            self.head
        } else {
            self.end
        };
        self.place(position, end - position)
    }

    /// Records that bytes were stored in [`next_place`](Self::next_place).
    pub(super) fn record_stored(&mut self, length: u64) {
        let is_complete = self.omitted() == 0;
        self.end += length;
        if is_complete {
            self.head = self.end.min(self.fixed);
            self.tail = self.head;
        }
        // The ring has overwritten its oldest bytes.
        let oldest = self.end.saturating_sub(self.ring).max(self.head);
        if self.end > self.fixed.saturating_add(self.ring) {
            self.tail = self.tail.max(oldest);
        }
    }

    /// Records that bytes could not be stored. What the ring had before them is left out, too,
    /// because there is only one gap.
    pub(super) fn record_lost(&mut self, length: u64) {
        self.end += length;
        self.tail = self.end;
    }

    /// Limits the file to its present size. Returns whether that helps: whether it has bytes, and
    /// could have got more.
    pub(super) fn shrink(&mut self) -> bool {
        let is_growing = self.omitted() == 0 && self.end < self.fixed.saturating_add(self.ring);
        if !is_growing || self.end < 2 {
            return false;
        }
        self.fixed = self.fixed.min(self.end.div_ceil(2));
        self.ring = self.end - self.fixed;
        self.head = self.fixed;
        self.tail = self.fixed;
        true
    }

    fn place(&self, position: u64, length: u64) -> Place {
        if position < self.fixed {
            return Place {
                offset: position,
                length: length.min(self.fixed - position),
            };
        }
        let in_ring = (position - self.fixed).checked_rem(self.ring).unwrap_or(0);
        Place {
            offset: self.fixed + in_ring,
            length: length.min(self.ring - in_ring),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A file in memory, which has no room for more than `disk` bytes.
    struct Disk {
        layout: Layout,
        file: Vec<u8>,
        disk: usize,
    }

    impl Disk {
        fn append(&mut self, byte: u8) {
            loop {
                let place = self.layout.next_place();
                let offset = usize::try_from(place.offset).unwrap();
                if place.length > 0 && offset < self.disk {
                    self.file.resize(self.file.len().max(offset + 1), 0);
                    self.file[offset] = byte;
                    return self.layout.record_stored(1);
                }
                if place.length == 0 || !self.layout.shrink() {
                    return self.layout.record_lost(1);
                }
            }
        }

        fn read(&self) -> (Vec<u8>, u64) {
            let (mut bytes, mut omitted, mut position) = (Vec::new(), 0, 0);
            while position < self.layout.end() {
                let gap = self.layout.omitted_from(position);
                if gap > 0 {
                    omitted += gap;
                    position += gap;
                    continue;
                }
                let place = self.layout.place_of(position);
                assert!(place.length > 0);
                let offset = usize::try_from(place.offset).unwrap();
                bytes.extend_from_slice(
                    &self.file[offset..][..usize::try_from(place.length).unwrap()],
                );
                position += place.length;
            }
            (bytes, omitted)
        }
    }

    #[test]
    fn every_limit_and_disk_keeps_the_beginning_and_the_end() {
        for limit in 0..12_u64 {
            for disk in [3, 4, 7, 100] {
                let layout = Layout::new(limit);
                let mut log = Disk {
                    layout,
                    file: Vec::new(),
                    disk,
                };
                let mut all = VecDeque::new();
                for byte in 0..40 {
                    log.append(byte);
                    all.push_back(byte);
                    let (bytes, omitted) = log.read();
                    assert_eq!(log.layout.omitted(), omitted);
                    assert_eq!(bytes.len() as u64 + omitted, all.len() as u64);
                    let size = usize::try_from(limit).unwrap().min(disk).min(all.len());
                    assert_eq!(bytes.len(), size, "limit {limit}, disk {disk}");
                    let head = if omitted == 0 {
                        size
                    } else {
                        usize::try_from(log.layout.head).unwrap()
                    };
                    assert!(head * 2 >= size);
                    let expected: Vec<u8> = all
                        .iter()
                        .take(head)
                        .chain(all.iter().skip(all.len() - (size - head)))
                        .copied()
                        .collect();
                    assert_eq!(bytes, expected, "limit {limit}, disk {disk}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_keeps_its_beginning() {
        let mut layout = Layout::new(10);
        layout.record_stored(4);
        layout.record_lost(3);
        assert_eq!((layout.end(), layout.omitted()), (7, 3));
        layout.record_stored(2);
        assert_eq!((layout.end(), layout.omitted()), (9, 3));
        assert_eq!(layout.omitted_from(2), 0);
        assert_eq!(layout.omitted_from(5), 2);
    }
}
