//! The delidder: terminating words that stand alone.

use super::host::{Host, check};

#[tokio::test]
async fn a_lid_is_taken_off_and_put_on_again() {
    check(
        "lid_valet",
        "",
        "0 > status 1 | 1 < ACK! status 1 | 1 < OPEN | 1 < OK!
         10 > unlid 1 | 11 < ACK! unlid 1 | 4011 < OK!
         5000 > status 1 | 5001 < ACK! status 1 | 5001 < HAS_LID | 5001 < OK!
         6000 > status | 6001 < ACK! status | 6001 < hotel 1: HAS_LID | 6001 < hotel 2: OPEN | 6001 < OK!
         7000 > lid 1 | 7001 < ACK! lid 1 | 11001 < OK!
         12000 > status 1 | 12001 < ACK! status 1 | 12001 < OPEN | 12001 < OK!
         13000 > reset | 13001 < ACK! reset | 23001 < OK!
         24000 > reset 2 | 24001 < ACK! reset 2 | 34001 < OK!
         35000 > home | 35001 < ACK! home | 45001 < OK!",
    )
    .await;
    check("lid_valet", "pace=0.01", "0 > unlid 2 | 1 < ACK! unlid 2 | 41 < OK!").await;
}

#[tokio::test]
async fn a_nest_is_busy_while_it_moves_and_the_other_is_not() {
    check(
        "lid_valet",
        "",
        "0 > unlid 1 | 1 < ACK! unlid 1
         1000 > status 1 | 1001 < ACK! status 1 | 1001 < BUSY | 1001 < OK!
         2000 > lid 1 | 2001 < ACK! lid 1 | 2001 < Busy Error: hotel 1 is busy | 2001 < ERROR!
         2500 > reset | 2501 < ACK! reset | 2501 < Busy Error: a hotel is busy | 2501 < ERROR!
         3000 > unlid 2 | 3001 < ACK! unlid 2
         4001 < OK!
         7001 < OK!",
    )
    .await;
}

#[tokio::test]
async fn a_nest_that_failed_says_so_until_it_is_reset() {
    check(
        "lid_valet",
        "plate=false",
        "0 > unlid 1 | 1 < ACK! unlid 1 | 4001 < Delid Error: no plate present | 4001 < ERROR!
         5000 > status | 5001 < ACK! status
         5001 < hotel 1: ERROR (last failed) | 5001 < hotel 2: OPEN | 5001 < OK!
         6000 > unlid 1 | 6001 < ACK! unlid 1 | 6001 < Delid Error: hotel 1 has to be reset | 6001 < ERROR!
         7000 > errors | 7001 < ACK! errors
         7001 < Delid Error: no plate present | 7001 < Delid Error: hotel 1 has to be reset | 7001 < OK!
         8000 > reset 1 | 8001 < ACK! reset 1 | 18001 < OK!
         19000 > status 1 | 19001 < ACK! status 1 | 19001 < OPEN | 19001 < OK!",
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_an_error() {
    check(
        "lid_valet",
        "pace=0&nests=1",
        "0 > lid 1 | 1 < ACK! lid 1 | 1 < Lid Error: the suction cup of hotel 1 has no lid | 1 < ERROR!
         10 > unlid 1 | 11 < ACK! unlid 1 | 12 < OK!
         20 > unlid 1 | 21 < ACK! unlid 1
         21 < Delid Error: the suction cup of hotel 1 is holding a lid | 21 < ERROR!
         30 > status 2 | 31 < ACK! status 2 | 31 < Command Error: there is no hotel 2 | 31 < ERROR!
         40 > dance | 41 < ACK! dance | 41 < Command Error: \"dance\" is not recognized | 41 < ERROR!
         50 > version | 51 < ACK! version | 51 < Product Name: LidValet | 51 < OK!",
    )
    .await;
}

#[tokio::test]
async fn an_abort_ends_what_moves_and_holds_until_it_is_cleared() {
    check(
        "lid_valet",
        "",
        "0 > unlid 1 | 1 < ACK! unlid 1
         2000 > abort | 2001 < ACK! abort | 2001 < ABORTED! | 2001 < OK!
         3000 > status 1 | 3001 < ACK! status 1 | 3001 < OPEN | 3001 < OK!
         4000 > unlid 1 | 4001 < ACK! unlid 1 | 4001 < ABORTED!
         5000 > clearabort | 5001 < ACK! clearabort | 5001 < OK!
         6000 > unlid 1 | 6001 < ACK! unlid 1 | 10001 < OK!",
    )
    .await;
}

#[tokio::test]
async fn switched_off_it_keeps_its_lid_and_nothing_else() {
    let mut host = Host::of("lid_valet", "pace=0");
    host.send("unlid 1").await;
    host.listen_until(100).await;
    host.send("abort").await;
    host.listen_until(200).await;
    host.served.power_cycle();
    host.heard.clear();
    host.listen_until(300).await;
    host.send_raw("status 1\r\n\nlid 1\n").await;
    host.listen_until(1_000).await;
    let heard: Vec<&str> = host.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(heard, ["ACK! status 1", "HAS_LID", "OK!", "ACK! lid 1", "OK!"]);
}
