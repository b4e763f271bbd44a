//! Time as the simulation has it, for the thread that runs one; for every other thread the real one.
//!
//! What is simulated asks here for the time and waits here: a wait lets the rest of the world go on until its end.

use super::world::World;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    static WORLD: RefCell<Option<Rc<RefCell<World>>>> = const { RefCell::new(None) };
}

/// The time of the world that this thread simulates, or else [`shared::clock::now_ns`].
pub(crate) fn now_ns() -> u64 {
    NOW.get().unwrap_or_else(shared::clock::now_ns)
}

/// Whether this thread simulates a world.
pub(crate) fn is_on() -> bool {
    NOW.get().is_some()
}

/// The audio thread waits until the deadline, or until it is `over`; meanwhile the world goes on. Gives the real
/// deadline until which there is still to be waited: the one given if nothing is simulated, a past one if so.
pub(crate) fn wait(deadline_ns: u64, over: impl Fn() -> bool) -> u64 {
    let Some(world) = WORLD.with_borrow(Clone::clone) else { return deadline_ns };
    world.borrow_mut().wait(deadline_ns, over);
    0
}

/// The moment between the audio thread's look at an answer and its copy of it.
pub(crate) fn meddle() {
    if let Some(world) = WORLD.with_borrow(Clone::clone) {
        world.borrow_mut().meddle();
    }
}

/// The audio thread has ordered a block of the plugin of this name, if it is one of the world's.
pub(crate) fn ordered(name: &str, incarnation: u32, seq: u32) {
    with_plugin(name, |world, plugin| world.ordered(plugin, incarnation, seq));
}

/// The audio thread has made up its mind about the present block of this plugin.
pub(crate) fn settled(name: &str) {
    with_plugin(name, World::settled);
}

fn with_plugin(name: &str, tell: impl FnOnce(&mut World, usize)) {
    if let (Some(world), Ok(plugin)) = (WORLD.with_borrow(Clone::clone), name.parse()) {
        tell(&mut world.borrow_mut(), plugin);
    }
}

/// The moment between the audio thread's decision that an answer is late and what it does about that.
pub(crate) fn preempted() {
    if let Some(world) = WORLD.with_borrow(Clone::clone) {
        world.borrow_mut().preempt();
    }
}

/// Time of this world is `ns` from now on.
pub(super) fn set(ns: u64) {
    NOW.set(Some(ns));
}

/// This thread simulates `world` until the guard is dropped.
pub(super) fn enter(world: &Rc<RefCell<World>>) -> Guard {
    WORLD.set(Some(Rc::clone(world)));
    Guard
}

/// See [`enter`].
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        WORLD.set(None);
        NOW.set(None);
    }
}
