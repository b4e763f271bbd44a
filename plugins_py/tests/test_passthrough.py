"""The processor that does nothing."""

import numpy as np


def test_every_bit_pattern_comes_out_as_it_went_in(running, block) -> None:
    buffer = block([0.0, -0.0, float("nan"), float("inf"), 1e-42, 3.0])
    buffer.data.view(np.uint32)[0, 2] = 0x7FA0_1234  # a NaN with a message in it
    memory, before = buffer.data, buffer.data.tobytes()
    assert running("passthrough").process_audio(buffer) is True
    assert buffer.data is memory
    assert memory.tobytes() == before


def test_it_has_no_latency(running) -> None:
    assert running("passthrough").get_processing_latency() == 0.0
