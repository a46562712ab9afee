"""Section of the peak rule: how waveforms become peaks. For real waveforms as for simulated ones."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section
from xtcav_ml.config.schema import CHANNELS, SAMPLES

Sample = Annotated[float, Field(ge=0, le=SAMPLES)]
Threshold = Annotated[float, Field(gt=0, le=1000)]
Slope = Annotated[float, Field(ge=-20, le=20)]


class PeakRule(Section):
    """Where t0, t1 and t2 are looked for and what counts as a peak. Triples are in the order t0, t1, t2."""

    thresholds: tuple[Threshold, Threshold, Threshold] = Field(description="units of the median absolute value")
    regions: tuple[tuple[Sample, Sample], tuple[Sample, Sample], tuple[Sample, Sample]] = Field(
        description="samples, first included, last not, at reference_energy"
    )
    reference_energy: float = Field(gt=0, le=50_000, description="L3 energy at which `regions` hold, MeV")
    shift: tuple[Slope, Slope, Slope] = Field(description="how far the regions move, samples per MeV of L3 energy")
    largest_difference: float = Field(
        ge=0, le=1, description="t1 and t2 both count if they differ by no more than this part of the larger one"
    )
    drooping_channels: tuple[Annotated[int, Field(ge=0, lt=CHANNELS)], ...] = Field(description="counted from 0")
    baseline_samples: int = Field(
        ge=1, le=SAMPLES // 2, description="samples at each end of the region of interest that hold no peak"
    )

    @model_validator(mode="after")
    def _check_regions(self) -> Self:
        for peak, (start, stop) in zip(("t0", "t1", "t2"), self.regions, strict=True):
            if stop - start < 1:
                raise ValueError(f"regions: {peak} must span at least 1 sample, got [{start}, {stop}]; widen it")
        return self
