"""The datasets of a raw shot file: shapes, kinds and units. One row per shot, the same number of rows everywhere."""

from dataclasses import dataclass

FRAME_SHAPE = (726, 568)  # rows (energy) and columns (time) of a camera frame
NO_FRAME = (0, 0)  # rows and columns of the frame of a shot that has none
LARGEST_SIDE = 2**15  # most rows or columns of a frame: its pixels can be numbered in int32
CHANNELS, SAMPLES = 16, 250  # digitizer channels, and samples in the region of interest of each

IMAGE = "xtcavimg"
WAVEFORMS = "acq.waveforms"
PEAKS_LABEL = "acq.peaksLabel"
ENERGY_LABEL = "acq.enPeaksLabel"  # 0 none, 1 e1, 2 e2, 3 both, -1 between the thresholds
ENERGY_CLASSES = ("no peaks", "e1", "e2", "e1 e2")
ENERGY_AMPLITUDES = ("acq.e1.ampl", "acq.e2.ampl")  # of the lower and the higher photon energy
EVENT_KEY = ("evt.seconds", "evt.nanoseconds", "evt.fiducials")  # the three datasets which together identify a shot
FILE = "file"  # column of a table of shots that is no dataset: the file of the row
PEAK_CLASSES = ("no peaks", "t0", "t0 t1", "t0 t1 t2")  # values 0 to 3 of PEAKS_LABEL; -1: no label
TRUTH = "truth.label"  # in simulated files: PEAKS_LABEL of waveforms without noise
REDRAWN = tuple(f"truth.redrawn{label}" for label in range(len(PEAK_CLASSES)))
"""In prepared test sets of simulated shots: how often waveforms that are drawn again for the same pulses give each class."""

TRUE_PULSES = ("truth.energy1", "truth.energy2", "bld.L3energy")
"""In simulated files: what the waveforms of a shot depend on, uJ of each colour and MeV."""

STREAK = ("bld.ebeam.ebeamXTCAVAmpl", "bld.ebeam.ebeamXTCAVPhase")
"""RF amplitude of the XTCAV, MV, and its phase, degrees: with a calibration they give the time axis of a shot's frame."""

PULSE_ENERGIES = {TRUE_PULSES[:2]: "uJ", ("bld.gasdet.f_11_ENRC",): "mJ"}
"""Datasets that add up to the energy of a shot's X-ray pulses, if files have them, and their unit."""


@dataclass(frozen=True)
class Dataset:
    """The rules for a dataset. Kind 'i' covers signed and unsigned integers, 'f' of one value a shot integers too."""

    kind: str
    row_shape: tuple[int, ...]
    meaning: str  # with its unit


SCHEMA: dict[str, Dataset] = {
    IMAGE: Dataset("int16", FRAME_SHAPE, "camera frame, ADU; rows energy, columns time"),
    WAVEFORMS: Dataset("f", (CHANNELS, SAMPLES), "digitizer region of interest, V"),
    PEAKS_LABEL: Dataset("i", (), "0 to 3; -1 where no label could be made"),
    **{f"acq.{peak}.pos": Dataset("f", (), "position, samples; NaN without a peak") for peak in ("t0", "t1", "t2")},
    **{
        f"acq.{peak}.ampl": Dataset("f", (), "over the channel's median |V|; NaN as pos") for peak in ("t0", "t1", "t2")
    },
    "bld.L3energy": Dataset("f", (), "electron energy at the end of the linac's third section, MeV"),
    "evt.seconds": Dataset("i", (), "s"),
    "evt.nanoseconds": Dataset("i", (), "ns"),
    "evt.fiducials": Dataset("i", (), "accelerator's 360 Hz counter"),
    "lasing": Dataset("i", (), "1 in lasing runs, 0 elsewhere"),
    "run": Dataset("i", (), "run number"),
    "run.index": Dataset("i", (), "position of the shot in its run"),
}
