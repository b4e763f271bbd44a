//! Notices that processes multiply, also those whose parents have ended and whom nobody can be traced back to.
//!
//! For the supervisor thread. A census takes a list of every process, so it is taken seldom, but at once when the system
//! as a whole has more of them than it had.

/// How many more there have to be, threads included, for a look to be worth it.
const MORE: i16 = 32;

/// Watches the number of processes in the system.
#[derive(Debug)]
pub(super) struct Crowd {
    /// The fewest since the last count. The kernel counts to 65535, then from 0 again.
    base: u16,
}

impl Crowd {
    /// From so many on.
    pub(super) fn new(now: u16) -> Self {
        Self { base: now }
    }

    /// Whether there are so many now that those of the workers are to be counted.
    pub(super) fn has_grown(&mut self, now: u16) -> bool {
        let more = now.wrapping_sub(self.base).cast_signed();
        if !(0..MORE).contains(&more) {
            self.base = now;
        }
        more >= MORE
    }
}

/// Processes and threads in the system.
pub(super) fn everybody() -> u16 {
    rustix::system::sysinfo().procs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(counts: &[u16]) -> Vec<u16> {
        let mut crowd = Crowd::new(counts[0]);
        counts.iter().copied().filter(|now| crowd.has_grown(*now)).collect()
    }

    #[test]
    fn it_is_worth_a_look_when_there_are_more_than_at_the_last_one_however_slowly_they_came() {
        assert_eq!(looks(&[500, 531, 532, 540, 563, 564]), [532, 564]);
        let slowly: Vec<u16> = (500..700).collect();
        assert_eq!(looks(&slowly).len(), 6);
    }

    #[test]
    fn the_fewest_since_are_what_is_compared_with() {
        assert_eq!(looks(&[500, 400, 431, 432, 300, 332]), [432, 332]);
    }

    #[test]
    fn a_count_that_begins_again_is_no_crowd_and_hides_none() {
        assert_eq!(looks(&[65_530, 5, 20, 26]), [26]);
        assert!(looks(&[5, 65_530, 10]).is_empty());
    }
}
