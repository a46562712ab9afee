"""Section of the peak rule, which turns waveforms, real or simulated, into peaks."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.schema import CHANNELS, SAMPLES

Sample = Annotated[float, Field(ge=0, le=SAMPLES)]
Threshold = Annotated[float, Field(gt=0, le=1000)]
Channel = Annotated[int, Field(ge=0, lt=CHANNELS)]
Region = tuple[Sample, Sample]
Slope = Annotated[float, Field(ge=-20, le=20)]


class PeakRule(Section):
    """Regions of t0, t1 and t2, and the definition of a peak. Triples are in the order t0, t1, t2."""

    thresholds: tuple[Threshold, Threshold, Threshold] = parameter("least height of a peak", "median absolute values")
    regions: tuple[Region, Region, Region] = parameter("start and end of each region at reference_energy", "samples")
    reference_energy: float = parameter("L3 energy at which the regions hold", "MeV", gt=0, le=50_000)
    shift: tuple[Slope, Slope, Slope] = parameter("how far the regions move with the L3 energy", "samples per MeV")
    largest_difference: float = parameter("largest difference of t1 and t2", "fraction of the larger", ge=0, le=1)
    energy_thresholds: tuple[Threshold, Threshold] = parameter(
        "amplitudes over which the energy peaks e1 and e2 are there", "of acq.e1.ampl"
    )
    energy_absent: float = parameter("amplitude up to which an energy peak is absent", "of acq.e1.ampl", gt=0, le=1000)
    drooping_channels: tuple[Channel, ...] = parameter("channels whose baseline droops", "channel numbers from 0")
    baseline_samples: int = parameter("peak-free length at each end of the waveform", "samples", ge=1, le=SAMPLES // 2)

    @model_validator(mode="after")
    def _check_regions(self) -> Self:
        for peak, (start, stop) in zip(("t0", "t1", "t2"), self.regions, strict=True):
            if stop - start < 1:
                raise ValueError(
                    f"regions: {peak} is empty (found {start} to {stop}, expected start < stop). Fix: widen it"
                )
        return self
