//! Those for whom entries are kept.

use std::sync::Arc;

use super::{
    Position,
    state::{ConsumerState, Shared},
};

/// Keeps entries after [`Self::released`] from being removed. Clones share one place, so that the successor of an
/// actor that died goes on where it was. Dropping all clones keeps the place (what was not released is still
/// needed, if only by the next process); [`Self::retire`] gives it up.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
    index: usize,
}

impl Consumer {
    pub(super) fn register(shared: &Arc<Shared>, name: &'static str) -> Self {
        let mut state = shared.lock();
        let released = state.begin();
        state.consumers.push(ConsumerState { name, released, retired: false });
        Self { shared: Arc::clone(shared), index: state.consumers.len() - 1 }
    }

    /// Everything at or below `upto` is not needed any more. Going back has no effect.
    pub fn release(&self, upto: Position) {
        let mut state = self.shared.lock();
        let upto = upto.0.min(state.end);
        let consumer = &mut state.consumers[self.index];
        if upto > consumer.released {
            consumer.released = upto;
            self.trim(&mut state);
        }
    }

    pub fn released(&self) -> Position {
        Position(self.shared.lock().consumers[self.index].released)
    }

    /// Nothing is needed any more, now and later.
    pub fn retire(self) {
        let mut state = self.shared.lock();
        state.consumers[self.index].retired = true;
        self.trim(&mut state);
    }

    fn trim(&self, state: &mut super::state::State) {
        if state.trim() {
            self.shared.files_wanted.notify_one();
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.lock();
        let consumer = &state.consumers[self.index];
        write!(f, "Consumer({}, released up to {})", consumer.name, consumer.released)
    }
}
