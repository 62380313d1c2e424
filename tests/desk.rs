//! Who takes the actor's place, and who leaves a letter: what is asked of a link that sleeps is on the wire at once, unless the runtime's
//! thread has been at work ever since its asker asked last.

#![cfg(test)]

mod common;

use bytes::BytesMut;
use common::{Rig, SOON, text, wait};
use labtether::link::desk::turn_over;
use labtether::transport::Transport;

/// What is on the wire without anybody having been waited for.
fn on_the_wire(rig: &mut Rig) -> String {
    let mut bytes = BytesMut::new();
    rig.bench.pipe.read_now(&mut bytes).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asks, and says whether it was on the wire at once. It is answered either way.
async fn is_written_at_once(rig: &mut Rig, command: &str) -> bool {
    let mut ticket = rig.query(command, SOON);
    let written = on_the_wire(rig);
    if written.is_empty() {
        assert_eq!(rig.bench.hear().await, command);
    } else {
        assert_eq!(written, format!("{command}\n"));
    }
    rig.bench.say(&format!("to {command}\n")).await;
    assert_eq!(text(wait(&mut ticket).await.unwrap()), format!("to {command}"));
    written == format!("{command}\n")
}

#[tokio::test]
async fn who_asks_again_while_the_runtimes_thread_is_at_work_leaves_a_letter() {
    let mut rig = Rig::open().await;
    assert!(is_written_at_once(&mut rig, "ASLEEP").await);
    assert!(is_written_at_once(&mut rig, "STILL ASLEEP").await);
    turn_over();
    assert!(is_written_at_once(&mut rig, "IT HAS WOKEN").await);
    assert!(!is_written_at_once(&mut rig, "IT IS AT WORK").await);
    assert!(!is_written_at_once(&mut rig, "IT STILL IS").await);
    turn_over();
    assert!(is_written_at_once(&mut rig, "ASLEEP AGAIN").await);
    turn_over();
    assert!(is_written_at_once(&mut rig, "IT HAS SLEPT IN BETWEEN").await);
    turn_over();
    assert!(is_written_at_once(&mut rig, "ASLEEP AT LAST").await);
}
