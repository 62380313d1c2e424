"""The pytest plugin, in a pytest of its own under each runner: scripts are checked, leaks found, wires shown."""

import importlib.util
import textwrap

import pytest

SYNC = """
    def test_sync(labsim):
        psu = labsim.script("psu", framing="\\n")
        psu.expect("*IDN?").reply("ACME")
        with psu.link().sync as link:
            assert link.query("*IDN?") == "ACME"
"""
ASYNC = """
    {mark}
    async def test_async(labsim):
        psu = labsim.script("psu", framing="\\n")
        psu.expect("*IDN?").reply("ACME")
        async with psu.link() as link:
            assert await link.query("*IDN?") == "ACME"
"""
CASE = """
    import unittest

    import pytest

    class TestCase(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def take_labsim(self, labsim):
            self.labsim = labsim

        def test_case(self):
            psu = self.labsim.script("psu", framing="\\n")
            psu.expect("*IDN?").reply("ACME")
            with psu.link().sync as link:
                assert link.query({command!r}) == "ACME"
"""


@pytest.fixture
def outside(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of somebody else's, with every plugin that is installed."""
    pytester.makefile(".ini", pytest="[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def run(pytester: pytest.Pytester, text: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(textwrap.dedent(text))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *flags)


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def test_a_plain_test(outside: pytest.Pytester) -> None:
    run(outside, SYNC).assert_outcomes(passed=1)


def test_under_the_anyio_plugin_on_asyncio_and_trio(outside: pytest.Pytester) -> None:
    text = "    import pytest\n" + ASYNC.format(mark="@pytest.mark.anyio")
    run(outside, text, "-p", "no:asyncio", "-p", "no:trio").assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_under_pytest_asyncio(outside: pytest.Pytester, mode: str) -> None:
    needs("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    run(
        outside, "    import pytest\n" + ASYNC.format(mark=mark), "-p", "no:trio", f"--asyncio-mode={mode}"
    ).assert_outcomes(passed=1)


def test_with_one_loop_for_a_whole_module_under_pytest_asyncio(outside: pytest.Pytester) -> None:
    needs("pytest_asyncio")
    mark = '@pytest.mark.asyncio(loop_scope="module")\n    @pytest.mark.parametrize("again", range(3))'
    text = "    import pytest\n" + ASYNC.format(mark=mark).replace("(labsim)", "(labsim, again)")
    run(outside, text, "-p", "no:trio").assert_outcomes(passed=3)


def test_under_pytest_trio(outside: pytest.Pytester) -> None:
    needs("pytest_trio")
    text = "    import pytest\n" + ASYNC.format(mark="@pytest.mark.trio")
    run(outside, text, "-p", "no:asyncio", "-W", "ignore").assert_outcomes(passed=1)


def test_in_a_unittest_case(outside: pytest.Pytester) -> None:
    run(outside, CASE.format(command="*IDN?")).assert_outcomes(passed=1)


def test_a_failing_unittest_case_shows_its_wire(outside: pytest.Pytester) -> None:
    result = run(outside, CASE.format(command="*IDN?").replace('== "ACME"', '== "EMCA"'))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*wire of psu call*", "*> '[*]IDN[?]\\n'"])


def test_a_unittest_case_fails_if_its_script_was_not_followed(outside: pytest.Pytester) -> None:
    text = CASE.format(command="*IDN?").replace('reply("ACME")', 'reply("ACME")\n            psu.expect("MORE")')
    result = run(outside, text)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*psu: 1 expected and not heard*"])


def test_the_other_name(outside: pytest.Pytester) -> None:
    run(outside, SYNC.replace("labsim", "instrument")).assert_outcomes(passed=1)


def test_what_does_not_come_fails_the_test_itself(outside: pytest.Pytester) -> None:
    result = run(outside, SYNC + '        psu.expect("MEAS?")\n')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*psu: 1 expected and not heard*",
            "  = [*]IDN[?]      [*]IDN[?]",
            "  - MEAS[?]",
            "*> '[*]IDN[?]\\n'",
            "*< 'ACME\\n'",
        ]
    )


def test_a_failure_of_the_test_comes_first_and_shows_the_wire(outside: pytest.Pytester) -> None:
    result = run(outside, SYNC + '        psu.expect("MEAS?")\n        assert "mine" == "yours"\n')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'mine' == 'yours'", "*wire of psu call*"])
    result.stdout.no_fnmatch_line("*expected and not heard*")


def test_several_instruments_are_told_together(outside: pytest.Pytester) -> None:
    text = """
        def test_two(labsim):
            labsim.script("psu").expect("A")
            labsim.script("dmm", transport="tcp").expect("B")
            labsim.script("fine")
    """
    result = run(outside, text)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*psu: 1 expected*", "*dmm: 1 expected*"])
    result.stdout.no_fnmatch_line("During handling*")
    result.stdout.no_fnmatch_line("*fine: *")


LEAK = """
    import labtether as lt

    kept = []

    def test_leak():
        kept.append(lt.link("sim://balance", name="scale").sync.setup())
"""


def test_a_link_that_is_left_open_fails_the_test_with_the_tree(outside: pytest.Pytester) -> None:
    result = run(outside, LEAK)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["left open:", "  task link scale", "lifecycle labtether", "  rust link scale*"])


def test_leaks_may_be_warned_of_or_passed_over(outside: pytest.Pytester) -> None:
    result = run(outside, LEAK, "-o", "labtether_leaks=warn")
    result.assert_outcomes(passed=1, warnings=1)
    result = run(outside, LEAK, "-o", "labtether_leaks=off")
    result.assert_outcomes(passed=1)
    result = run(outside, LEAK, "-o", "labtether_leaks=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*labtether_leaks is one of error, warn, off, not 'maybe'*"])


def test_a_link_is_found_in_any_test_and_a_thread_only_with_labsim(outside: pytest.Pytester) -> None:
    text = """
        import threading
        import labtether as lt

        go_on = threading.Event()
        kept = []

        def start():
            kept.append(threading.Thread(target=go_on.wait, name="mine", daemon=True))
            kept[-1].start()

        def test_a_thread():
            start()

        def test_a_thread_beside_labsim(labsim):
            start()

        def test_a_link():
            kept.append(lt.link("sim://balance").sync.setup())

        def test_end():
            go_on.set()
    """
    result = run(outside, text)
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_a_thread_beside_labsim*", "*thread 'mine'*"])
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_a_link*", "*link balance*"])


def test_what_a_wider_fixture_holds_is_no_leak(outside: pytest.Pytester) -> None:
    text = """
        import pytest
        import labtether as lt

        @pytest.fixture(scope="module")
        def scale():
            with lt.link("sim://balance").sync as scale:
                yield scale

        def test_one(scale):
            assert scale.query("I4")

        def test_two(scale, labsim):
            assert scale.query("I4")
    """
    run(outside, text).assert_outcomes(passed=2)


def test_the_marker_runs_a_test_under_each_fault(outside: pytest.Pytester) -> None:
    text = """
        import pytest
        import labtether as lt
        from labtether.testing import faults

        @pytest.mark.everywhere
        def test_all(labsim, labtether_fault):
            psu = labsim.script("psu", transport="memory")
            psu.when("A").reply("1")
            try:
                with psu.link(timeout=0.3, drain=0.01).sync as link:
                    link.query("A")
            except lt.LinkError:
                assert labtether_fault in faults.HARMFUL

        @pytest.mark.everywhere(faults.Delay(0.01), faults.Drop())
        def test_two(labsim, labtether_fault):
            psu = labsim.script("psu", transport="memory")
            psu.when("A").reply("1")
            with psu.link(timeout=0.1, drain=0.01).sync as link:
                assert link.query("A") == "1"
    """
    from labtether.testing import faults

    result = run(outside, text)
    result.assert_outcomes(passed=1 + len(faults.ALL) + 2, failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_two[[]Drop()[]]*"])


def test_the_marker_needs_labsim(outside: pytest.Pytester) -> None:
    result = run(outside, "import pytest\n\n@pytest.mark.everywhere\ndef test_it(): pass\n")
    result.stdout.fnmatch_lines(["*everywhere is for tests that use labsim*"])
    assert result.ret != 0


def test_labsim_everywhere_runs_a_function_under_each_fault(outside: pytest.Pytester) -> None:
    text = """
        import pytest
        import labtether as lt
        from labtether.testing import faults

        def ask(labsim):
            psu = labsim.script("psu", transport="memory")
            psu.expect("A").reply("1")
            with psu.link(timeout=0.1, drain=0.01).sync as link:
                assert link.query("A") == "1"

        async def ask_async(labsim):
            psu = labsim.script("psu", transport="memory")
            psu.expect("A").reply("1")
            async with psu.link(timeout=0.1, drain=0.01) as link:
                assert await link.query("A") == "1"

        def test_harmless(labsim):
            labsim.everywhere(ask, faults.HARMLESS)

        @pytest.mark.anyio
        async def test_async(labsim):
            await labsim.everywhere(ask_async, faults.HARMLESS)

        def test_dropped(labsim):
            with pytest.raises(ExceptionGroup, match="failed 1 times of 2") as raised:
                labsim.everywhere(ask, [faults.Drop()])
            assert raised.value.exceptions[0].__notes__[-1] == "under Drop()"

        def test_no_function(labsim):
            with pytest.raises(TypeError, match="everywhere takes a function"):
                labsim.everywhere("psu")
    """
    run(outside, text, "-p", "no:asyncio", "-p", "no:trio").assert_outcomes(passed=5)


def test_nothing_is_imported_where_nothing_is_used(outside: pytest.Pytester) -> None:
    text = """
        import sys

        def test_plain():
            assert "labtether._core" not in sys.modules
    """
    run(outside, text).assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_what_they_are(outside: pytest.Pytester) -> None:
    result = run(outside, "", "--fixtures")
    result.stdout.fnmatch_lines(["labsim -- *", "    Makes simulated instruments for this test*"])
    result.stdout.fnmatch_lines(["instrument -- *"])
    result = run(outside, "", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.everywhere(*faults): run once under each fault*"])


def test_the_first_link_of_a_process_is_no_leak(outside: pytest.Pytester) -> None:
    text = """
        import labtether as lt

        def test_plain():
            with lt.link("sim://balance").sync as scale:
                scale.query("SI")
    """
    run(outside, text).assert_outcomes(passed=1)
