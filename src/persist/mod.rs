//! tmp
mod messages;
use actix::prelude::*;
pub use messages::*;
pub struct PersistActor;
impl Actor for PersistActor {
    type Context = Context<Self>;
}
macro_rules! h { ($($t:ty),*) => { $(impl Handler<$t> for PersistActor { type Result=(); fn handle(&mut self,_:$t,_:&mut Context<Self>){} })* } }
h!(OpenStream, AppendRecords, CloseStream, StoreRecord);
pub use crate::store::OpenSession;
