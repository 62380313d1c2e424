"""More of test_fork.py: ports while a forked child lives."""

import pytest

from support import Child, PtyInstrument, TcpInstrument, run_child
from test_fork import PATIENCE, balance, counting, importable, instrument, program  # noqa: F401  fixtures among them


def test_a_child_that_forgets_or_stops_a_link_does_not_close_the_parents(balance: PtyInstrument) -> None:
    code = """
        import gc

        links = [lt.link(URL, park="PARK")]
        links[0].sync.setup()

        def forget():
            try:
                links[0].sync.stop()
            except lt.ForkedProcess:
                pass
            links.clear()
            gc.collect()

        forked = Forked(forget)
        input()
        say(links[0].sync.query("1"), forked.let_go(), links[0].sync.query("2"))
        links[0].sync.stop()
    """
    with Child(program(code), balance.url) as child:
        assert child.line(PATIENCE) == "child done"
        child.say("go on")
        assert child.line(PATIENCE) == "= 1 0 = 2"
        assert child.finish().stderr == ""
    assert balance.heard == [b"1", b"2"]


def test_a_child_that_ends_with_an_error_or_by_a_signal_leaves_the_parent_alone(balance: PtyInstrument) -> None:
    code = """
        link = lt.link(URL, park="PARK")
        link.sync.setup()
        for number, end in enumerate([lambda: sys.exit(4), lambda: os._exit(5), lambda: os.abort()]):
            pid = os.fork()
            if pid == 0:
                end()
            say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), link.sync.query(f"{number}"))
        link.sync.stop()
    """
    env = {"PYTHONFAULTHANDLER": ""}
    finished = run_child(program(code), balance.url, env=env, timeout=PATIENCE)
    assert finished.stdout == "4 = 0\n5 = 1\n-6 = 2\n"
    assert balance.heard == [b"0", b"1", b"2"]


def test_a_fork_inside_a_running_loop(instrument: PtyInstrument | TcpInstrument) -> None:
    code = """
        async def main():
            async with lt.link(URL) as link:
                assert await link.query("1") == "= 1"
                query = asyncio.create_task(link.query("2"))
                await asyncio.sleep(0)
                pid = os.fork()
                if pid == 0:
                    told("child", lambda: link.sync.query("9"))
                    os._exit(0)
                assert await query == "= 2"
                say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                assert await link.query("3") == "= 3"

        asyncio.run(main())
    """
    finished = run_child(program(code), instrument.url, timeout=PATIENCE)
    assert finished.stdout == "child forked spawn at once\n0\n"
    assert finished.stderr == ""
    assert instrument.heard == [b"1", b"2", b"3"]


def test_a_fork_before_the_first_link_is_none_of_our_business(balance: PtyInstrument) -> None:
    code = """
        pid = os.fork()
        with lt.link(URL if pid else "sim://balance").sync as link:
            assert link.query("1" if pid else "I4").startswith("= 1" if pid else "I4 A")
        if pid:
            say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    finished = run_child(program(code), balance.url, timeout=PATIENCE)
    assert finished.stdout == "0\n"
    assert finished.stderr == ""


def test_a_grandchild_is_told_too(balance: PtyInstrument) -> None:
    code = """
        link = lt.link(URL)
        link.sync.setup()

        def work():
            pid = os.fork()
            if pid == 0:
                told("grandchild", lambda: link.sync.query("9"))
                os._exit(0)
            os.waitpid(pid, 0)

        forked = Forked(work)
        say(forked.let_go(), link.sync.query("1"))
        link.sync.stop()
    """
    finished = run_child(program(code), balance.url, timeout=PATIENCE)
    assert finished.stdout == "grandchild forked spawn at once\nchild done\n0 = 1\n"
    assert finished.stderr == ""


def test_a_program_that_is_started_inherits_no_port(instrument: PtyInstrument | TcpInstrument) -> None:
    code = """
        import subprocess

        open_before = set(os.listdir("/proc/self/fd"))
        list_mine = "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
        list_mine += " if os.path.exists(f'/proc/self/fd/{n}')), sep='\\\\n')"
        link = lt.link(URL)
        link.sync.setup()
        ours = {os.readlink(f"/proc/self/fd/{n}") for n in set(os.listdir("/proc/self/fd")) - open_before
                if os.path.exists(f"/proc/self/fd/{n}") or os.path.islink(f"/proc/self/fd/{n}")}
        command = [sys.executable, "-c", list_mine]
        theirs = subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True).stdout
        say("inherited", ours & set(theirs.splitlines()) - {"/dev/null"})
        link.sync.stop()
    """
    finished = run_child(program(code), instrument.url, timeout=PATIENCE)
    assert finished.stdout == "inherited set()\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_works_with_methods_that_do_not_fork_this_process(
    method: str, balance: PtyInstrument, importable: dict[str, str]
) -> None:
    code = """
        import multiprocessing, worker

        link = lt.link(URL)
        link.sync.setup()
        with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
            answers = pool.starmap(worker.ask, [(sys.argv[3], "1"), ("sim://balance", "I4")])
            say(*answers, link.sync.query("3"))
            pool.close()
            pool.join()
        link.sync.stop()
    """
    with PtyInstrument(counting) as other:
        finished = run_child(program(code), balance.url, method, f"serial://{other.port}", env=importable, timeout=60.0)
    assert finished.stdout.startswith("= 1 I4 A ")
    assert finished.stdout.endswith("= 3\n")
    assert finished.stderr == ""


def test_multiprocessing_by_fork_is_told_the_cure(balance: PtyInstrument, importable: dict[str, str]) -> None:
    code = """
        import multiprocessing, worker

        link = lt.link(URL)
        link.sync.setup()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            say(*pool.map(worker.use, ["sim://balance", URL]))
            say(link.sync.query("1"))
            pool.close()
            pool.join()
        link.sync.stop()
    """
    finished = run_child(program(code), balance.url, env=importable, timeout=60.0)
    assert finished.stdout == "forked spawn forked spawn\n= 1\n"
    assert finished.stderr == ""
