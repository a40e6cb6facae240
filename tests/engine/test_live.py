"""The process's event loop: a Ctrl-C ends every task in order, and work goes on afterwards."""

from __future__ import annotations

import asyncio
import gc

import pytest

from s1x.engine.live import run_in_loop


def test_ctrl_c_in_any_task_ends_them_all_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[str] = []

    async def waits(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(name)

    async def stopped() -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    async def whole() -> None:
        other = asyncio.create_task(waits("other"))
        driver = asyncio.create_task(stopped())
        await waits("work")
        await asyncio.gather(other, driver)

    with pytest.raises(KeyboardInterrupt):
        run_in_loop(whole())
    assert sorted(ended) == ["other", "work"]
    gc.collect()
    assert capfd.readouterr().err == ""  # nothing about tasks that nobody waited for

    async def answer() -> int:
        return 5

    assert run_in_loop(answer()) == 5
