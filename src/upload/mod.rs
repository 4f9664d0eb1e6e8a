//! tmp
mod messages;
use actix::prelude::*;
pub use messages::*;
pub struct UploadActor;
impl Actor for UploadActor {
    type Context = Context<Self>;
}
macro_rules! h { ($($t:ty),*) => { $(impl Handler<$t> for UploadActor { type Result=(); fn handle(&mut self,_:$t,_:&mut Context<Self>){} })* } }
h!(BeginRun, AppendAudio, FinishRun);
