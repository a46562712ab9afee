"""What a raw shot file holds: datasets, shapes, kinds and units. One row per shot, the same number of rows everywhere."""

from dataclasses import dataclass

FRAME_SHAPE = (726, 568)
"""Rows (energy) and columns (time) of a camera frame."""

LARGEST_SIDE = 2**15
"""Most rows or columns of a frame, pixels: each of its pixels then has a number in int32."""

CHANNELS, SAMPLES = 16, 250
"""Digitizer channels, and samples in the region of interest of each."""

IMAGE = "xtcavimg"
WAVEFORMS = "acq.waveforms"
PEAKS_LABEL = "acq.peaksLabel"
EVENT_KEY = ("evt.seconds", "evt.nanoseconds", "evt.fiducials")
"""The three datasets which together identify a shot."""

FILE = "file"
"""Column of a table of shots that is no dataset: the name of the file that a row is from."""

PEAK_CLASSES = ("no peaks", "t0", "t0 t1", "t0 t1 t2")
"""Meaning of the values 0 to 3 of `acq.peaksLabel`; -1 says that no label could be made."""

TRUTH = "truth.label"
"""In simulated files: what PEAKS_LABEL would be of waveforms without noise. Not in those of the experiment."""


@dataclass(frozen=True)
class Dataset:
    """What a dataset must be: numpy kinds, shape of one row, unit or meaning.

    'i' covers signed and unsigned integers, 'f' of one value a shot integers too.
    """

    kind: str
    row_shape: tuple[int, ...]
    meaning: str


SCHEMA: dict[str, Dataset] = {
    IMAGE: Dataset("int16", FRAME_SHAPE, "camera frame, ADU; rows energy, columns time"),
    WAVEFORMS: Dataset("f", (CHANNELS, SAMPLES), "digitizer region of interest, V"),
    PEAKS_LABEL: Dataset("i", (), "0 to 3; -1 where no label could be made"),
    **{
        f"acq.{peak}.{part}": Dataset("f", (), meaning)
        for peak in ("t0", "t1", "t2")
        for part, meaning in (
            ("pos", "position, samples; NaN where there is no peak"),
            ("ampl", "amplitude, in units of the channel's median absolute value; NaN where there is no peak"),
        )
    },
    "bld.L3energy": Dataset("f", (), "electron energy at the end of the linac's third section, MeV"),
    "evt.seconds": Dataset("i", (), "s"),
    "evt.nanoseconds": Dataset("i", (), "ns"),
    "evt.fiducials": Dataset("i", (), "accelerator's 360 Hz counter"),
    "lasing": Dataset("i", (), "1 in lasing runs, 0 elsewhere"),
    "run": Dataset("i", (), "run number"),
    "run.index": Dataset("i", (), "position of the shot in its run"),
}
