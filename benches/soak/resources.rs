//! What the host holds of the system, once a second, and whether that grows.
//!
//! Some of it comes and goes while a worker is replaced, which is most of the time here, and what leaks stays. So what is
//! held at nine of ten times at least is compared: in the second half of the run with the first, after a warm-up in which
//! pools and caches take their size. What the soak itself keeps has its memory before that: [`room`].

use serde::Serialize;
use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Of the run, before anything is compared.
const WARM_UP: f64 = 0.1;
/// Times in each half that are enough to compare.
const ENOUGH: usize = 10;
/// Memory that may come and go, in KiB: threads' stacks and pools of the allocator.
const MEMORY_KIB: u64 = 1024;

/// An empty list with room for so many, whose memory is the process's own from the beginning and not only as it fills: what
/// the judge notes down is not to be taken for something that the host lost. For some hours of it: more comes as it fills.
pub(super) fn room<T>(items: usize) -> Vec<T> {
    const MOST: usize = 200_000;
    let mut list = Vec::with_capacity(items.min(MOST));
    list.spare_capacity_mut().iter_mut().for_each(|place| *place = MaybeUninit::zeroed());
    list
}

/// What was held at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Held {
    /// Memory of the process's own, in KiB.
    pub memory_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Children, also dead ones that nobody has taken note of.
    pub children: u64,
    /// Mappings of memory that is shared with workers.
    pub segments: u64,
}

/// All samples.
#[derive(Debug, Clone, Default)]
pub struct Resources(Vec<(Duration, Held)>);

/// One kind of resource over the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Course {
    /// Its name.
    pub what: &'static str,
    /// What was held at nine of ten times at least in the first half, after the warm-up.
    pub first_half: u64,
    /// The same in the second half.
    pub second_half: u64,
    /// The least and the most that there ever was, after the warm-up.
    pub least: u64,
    /// See above.
    pub most: u64,
    /// The second half may be larger by so much.
    pub allowed: u64,
}

impl Course {
    /// Whether it has not grown.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.second_half <= self.first_half + self.allowed
    }
}

impl Held {
    /// What this process holds now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let figure = |key| {
            let line = status.lines().find_map(|line: &str| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Self {
            memory_kib: figure("RssAnon:"),
            threads: figure("Threads:"),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            children: children(),
            segments: segments(),
        }
    }
}

fn segments() -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.contains("memfd:nda")).count() as u64
}

/// Each thread's own.
fn children() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.map(|task| of(task).split_whitespace().count() as u64).sum()
}

impl Resources {
    /// For a run of this length.
    #[must_use]
    pub fn of_a_run_of(length: Duration) -> Self {
        Self(room(usize::try_from(length.as_secs()).unwrap_or(0) + 1))
    }

    /// Looks now, so long after the beginning.
    pub fn take(&mut self, at: Duration) {
        self.add(at, Held::now());
    }

    /// So much was held so long after the beginning.
    pub(super) fn add(&mut self, at: Duration, held: Held) {
        self.0.push((at, held));
    }

    /// How often it was looked in each half, after the warm-up.
    #[must_use]
    pub fn looks(&self) -> [usize; 2] {
        self.halves().map(|(from, to)| self.between(from, to).count())
    }

    /// Whether that is often enough for [`Course::is_flat`] to mean anything.
    #[must_use]
    pub fn are_enough(looks: [usize; 2]) -> bool {
        looks.iter().all(|looks| *looks >= ENOUGH)
    }

    /// From when to when they last.
    fn halves(&self) -> [(Duration, Duration); 2] {
        let length = self.0.last().map_or(Duration::ZERO, |(at, _)| *at);
        let warm = length.mul_f64(WARM_UP);
        let middle = (length + warm) / 2;
        [(warm, middle), (middle, length)]
    }

    fn between(&self, from: Duration, to: Duration) -> impl Iterator<Item = &Held> {
        self.0.iter().filter(move |(at, _)| (from..=to).contains(at)).map(|(_, held)| held)
    }

    /// How each kind went.
    #[must_use]
    pub fn courses(&self) -> Vec<Course> {
        vec![
            self.course("memory, KiB", MEMORY_KIB, |held| held.memory_kib),
            self.course("descriptors", 0, |held| held.descriptors),
            self.course("threads", 0, |held| held.threads),
            self.course("children", 0, |held| held.children),
            self.course("segments", 0, |held| held.segments),
        ]
    }

    fn course(&self, what: &'static str, allowed: u64, of: fn(&Held) -> u64) -> Course {
        let [first, second] = self.halves();
        let between = |(from, to)| {
            let mut figures: Vec<_> = self.between(from, to).map(of).collect();
            figures.sort_unstable();
            figures
        };
        let all = between((first.0, second.1));
        let mostly = |figures: Vec<u64>| figures.get(figures.len() / 10).copied().unwrap_or(0);
        Course {
            what,
            first_half: mostly(between(first)),
            second_half: mostly(between(second)),
            least: all.first().copied().unwrap_or(0),
            most: all.last().copied().unwrap_or(0),
            allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_list_is_there_before_anything_is_in_it() {
        let before = Held::now().memory_kib;
        let list = room::<[u64; 32]>(100_000);
        let after = Held::now().memory_kib;
        assert!(after >= before + 20_000 && list.is_empty(), "{before} and {after} KiB");
    }

    fn course_of(descriptors: impl Fn(u64) -> u64) -> Course {
        let mut resources = Resources::default();
        for second in 0..=100 {
            let held = Held { descriptors: descriptors(second), ..Held::default() };
            resources.add(Duration::from_secs(second), held);
        }
        resources.courses().remove(1)
    }

    #[test]
    fn what_comes_and_goes_and_what_is_taken_in_the_warm_up_is_flat() {
        let course = course_of(|second| if second < 9 { second } else { 20 + second % 3 });
        assert!(course.is_flat());
        assert_eq!((course.first_half, course.second_half), (20, 20));
        assert_eq!((course.least, course.most), (20, 22));
    }

    #[test]
    fn what_grows_by_one_in_a_while_is_not() {
        assert!(!course_of(|second| 20 + second / 30).is_flat());
        assert!(!course_of(|second| 20 + second / 30 + second % 3).is_flat());
        assert!(course_of(|second| 20 - second / 30).is_flat());
    }

    #[test]
    fn a_run_that_was_looked_at_a_few_times_says_nothing() {
        let looks = |seconds| {
            let mut resources = Resources::default();
            (1..=seconds).for_each(|second| resources.add(Duration::from_secs(second), Held::default()));
            resources.looks()
        };
        assert_eq!([looks(0), looks(1), looks(20)], [[0, 0], [0, 1], [10, 10]]);
        assert_eq!([0, 1, 19, 20].map(|n| Resources::are_enough(looks(n))), [false, false, false, true]);
    }

    #[test]
    fn what_is_held_now_is_read() {
        let before = Held::now();
        let file = fs::File::open("/proc/self/status").unwrap();
        let now = Held::now();
        // Tests beside this one may hold more or less of it.
        assert!(now.memory_kib > 0 && now.threads > 0 && before.descriptors > 0);
        drop(file);
    }
}
