"""The fixture `virtual_time` under each runner of async tests, in a pytest of its own: also where a test does nothing
but sleep."""

import importlib.util
import textwrap

import pytest

SLEEPS = """
    import {backend}
    import labtether as lt
    import pytest

    {mark}
    async def test_it_sleeps(virtual_time):
        await {backend}.sleep(3600)
        assert virtual_time.elapsed == 3600.0

    {mark}
    async def test_it_asks(labsim, virtual_time):
        psu = labsim.script("psu", transport="memory")
        psu.expect("MEAS?").reply("1.23", after=600)
        async with psu.link() as link:
            await {backend}.sleep(60)
            assert await link.query("MEAS?", timeout=1000) == "1.23"
        assert virtual_time.elapsed == 660.0
"""


def run(pytester: pytest.Pytester, text: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(textwrap.dedent(text))
    pytester.makefile(".ini", pytest="[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *flags)


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_anyio_plugin(pytester: pytest.Pytester, backend: str) -> None:
    text = SLEEPS.format(mark="@pytest.mark.anyio", backend=backend)
    text += f"""
    @pytest.fixture
    def anyio_backend():
        return "{backend}"
    """
    run(pytester, text, "-p", "no:asyncio", "-p", "no:trio").assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["function", "module"])
def test_pytest_asyncio(pytester: pytest.Pytester, scope: str) -> None:
    needs("pytest_asyncio")
    text = SLEEPS.format(mark=f'@pytest.mark.asyncio(loop_scope="{scope}")', backend="asyncio")
    run(pytester, text, "-p", "no:trio").assert_outcomes(passed=2)


def test_pytest_trio(pytester: pytest.Pytester) -> None:
    needs("pytest_trio")
    text = SLEEPS.format(mark="@pytest.mark.trio", backend="trio")
    run(pytester, text, "-p", "no:asyncio", "-W", "ignore").assert_outcomes(passed=2)


def test_a_case_of_unittest(pytester: pytest.Pytester) -> None:
    text = """
        import asyncio, unittest
        import labtether as lt
        import pytest

        @pytest.mark.usefixtures("virtual_time")
        class TestCase(unittest.IsolatedAsyncioTestCase):
            async def test_it_sleeps(self):
                before = asyncio.get_running_loop().time()
                await asyncio.sleep(3600)
                await lt.sleep(3600)
                self.assertAlmostEqual(asyncio.get_running_loop().time() - before, 7200.0, places=6)
    """
    run(pytester, text).assert_outcomes(passed=1)


def test_real_time_is_real_in_the_next_test(pytester: pytest.Pytester) -> None:
    text = """
        import time
        import labtether as lt

        def test_virtual(virtual_time):
            virtual_time.advance(3600)

        def test_real():
            before = time.monotonic()
            with lt.link("sim://balance").sync as scale:
                scale.query("S")
                assert before + 0.4 <= scale.trace()[-1].monotonic <= time.monotonic()
    """
    run(pytester, text).assert_outcomes(passed=2)
