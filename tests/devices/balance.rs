//! The balance: what the dialogue with it has beyond weighing (which is in `tests/simulate.rs`).

use super::host::{Host, check};

#[tokio::test]
async fn wrong_parameters_and_garbled_commands_are_told_apart() {
    check(
        "balance",
        "",
        "0 > M21 0 0 | 1 < M21 A
         10 > M21 0 9 | 11 < M21 L
         20 > M21 | 21 < M21 L
         30 > D hello | 31 < D L
         40 > TA much | 41 < TA L
         50 > TA -5.0 g | 51 < TA L
         60 > I4 now | 61 < EL
         70 > WHO | 71 < ES
         80 > WHO AM I | 81 < ES
         90 > s | 91 < ES",
    )
    .await;
    for garbled in ["S\u{1}", "\u{b0}S", "S\tI"] {
        check("balance", "", &format!("0 > {garbled} | 1 < ET")).await;
    }
    let mut host = Host::of("balance", "");
    host.send_raw("S\u{0}\r\n").await;
    host.listen_until(10).await;
    assert_eq!(host.heard, [(1, "ET".to_owned())]);
}

#[tokio::test]
async fn a_pan_that_is_not_in_place_is_an_underload() {
    check(
        "balance",
        "load=-20",
        "0 > S | 1 < S - | 10 > SI | 11 < S - | 20 > T | 21 < T - | 30 > TI | 31 < TI - | 40 > Z | 41 < Z -
         50 > ZI | 51 < ZI -",
    )
    .await;
    check("balance", "load=220.1", "0 > ZI | 1 < ZI +").await;
}

#[tokio::test]
async fn a_list_says_that_more_follows_until_its_last_line() {
    let mut host = Host::of("balance", "");
    host.send("I0").await;
    host.listen_until(10).await;
    let lines: Vec<&str> = host.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!((lines[0], lines[1]), ("I0 B 0 \"@\"", "I0 B 1 \"C\""));
    let (last, others) = lines.split_last().unwrap();
    assert!(others.iter().all(|line| line.starts_with("I0 B ")), "{lines:?}");
    assert!(last.starts_with("I0 A "), "{last:?}");
}

#[tokio::test]
async fn every_command_in_its_list_is_known() {
    let mut host = Host::of("balance", "stable_after=0");
    host.send("I0").await;
    host.listen_until(10).await;
    let listed: Vec<String> = host.heard.iter().map(|(_, line)| line.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(listed.len(), 20);
    for (place, command) in listed.iter().enumerate() {
        host.heard.clear();
        host.send(command).await;
        host.listen_until(1_000 * (place as u64 + 1)).await;
        assert!(host.heard.iter().all(|(_, line)| line != "ES"), "{command}: {:?}", host.heard);
    }
}

#[tokio::test]
async fn a_tare_can_be_given() {
    check(
        "balance",
        "load=100",
        "0 > TA 1.00000 g | 1 < TA A    1.00000 g
         10 > S | 410 < S S   99.00000 g
         500 > ZI | 501 < ZI A
         510 > TA | 511 < TA A    0.00000 g",
    )
    .await;
}

#[tokio::test]
async fn it_settles_at_its_pace() {
    check("balance", "stable_after=10&pace=0.5&load=1.5", "0 > S | 5000 < S S    1.50000 g").await;
    check("balance", "stable_after=10&load=1.5", "0 > S | 10000 < S S    1.50000 g").await;
    check("balance", "seed=8", "0 > SI | 1 < S D   42.00002 g | 5 > SI | 6 < S S   42.00000 g").await;
}
