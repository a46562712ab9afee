"""Accuracy of `portable`, and what keeps the bits of simulate and prepare the same on every processor.

`tests/pipeline/test_processors.py` compares those bits at the levels of this processor.
"""

import ast
import functools

import numpy as np
import pytest

from xtcav_ml.lineage import fingerprint
from xtcav_ml.lineage.used_code import Package
from xtcav_ml.science import portable

OWN = {"portable", "draws"}
ELEMENTARY = (
    "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos arctan arctan2 asin acos atan atan2"
)
OF_NUMPY = (
    "hypot power float_power pow cbrt logaddexp logaddexp2 interp cov corrcoef dot vdot inner matmul einsum tensordot "
    "convolve correlate linalg fft argpartition"
)
RANDOM = (
    "normal standard_normal lognormal exponential standard_exponential poisson gamma standard_gamma binomial multinomial "
    "beta laplace uniform geometric rayleigh multivariate_normal weibull chisquare"
)
DEPENDENT = {*ELEMENTARY.split(), *OF_NUMPY.split(), *RANDOM.split()}


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 6e-7), (np.float64, 1e-15)])
def test_exponential_and_logarithm_equal_those_of_numpy(dtype, error):
    values = np.linspace(-5, 5, 100_001).astype(dtype)
    for own in (portable.exp(values), portable.exp(values[:, np.newaxis])[:, 0]):
        assert own.dtype == dtype
        np.testing.assert_allclose(own, np.exp(values), rtol=error)
    own = portable.log(np.exp(4 * values))
    assert own.dtype == dtype
    np.testing.assert_allclose(own, np.log(np.exp(4 * values)), rtol=error, atol=error)


def test_a_logarithm_of_many_is_that_of_each():
    values = np.linspace(1, 9, 2 * portable.BLOCK + 4).astype(np.float32).reshape(2, -1)
    for given in (values, values.T):
        expected = [portable.log(each) for each in np.split(np.ascontiguousarray(given).reshape(-1), 6)]
        np.testing.assert_array_equal(portable.log(given), np.concatenate(expected).reshape(given.shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_known_and_extreme_values(dtype):
    powers = np.array([0.25, 0.5, 1, 2, 1024], dtype)
    np.testing.assert_array_equal(portable.log(powers), np.log(powers))
    assert portable.exp(np.zeros(1, dtype)) == 1
    assert portable.exp(np.array([-1e6, -800], dtype)).tolist() == [
        0,
        0,
    ]  # and nothing that is subnormal, which is slow
    tiny, largest = np.finfo(dtype).tiny, np.ldexp(dtype(1), np.finfo(dtype).maxexp - 1)
    below = portable.exp(np.log(tiny) + np.linspace(-2, 0.1, 1001).astype(dtype))
    assert ((below == 0) | (below >= tiny)).all()
    assert below[0] == 0 < below[-1]
    np.testing.assert_array_equal(portable.exp(np.array([1e6, np.log(largest) + 0.5], dtype)), largest)
    assert np.isclose(portable.log(np.array([tiny], dtype)), np.log(tiny))
    assert portable.exp(dtype(1.5)) == pytest.approx(np.exp(1.5), rel=1e-6)  # of one number


@functools.cache
def definitions(program):
    """Return module, name and syntax tree of all definitions that a program uses."""
    package = Package(fingerprint.PACKAGE)
    entries = [tuple(entry.split(":")) for entry in fingerprint.PROGRAMS[program]]
    used = package.reached(entries)
    return [(module, name, each) for module, name in used for each in package.module(module).definitions.get(name, [])]


def dependent(node):
    """Return whether a part of a program may have other bits on another processor."""
    match node:
        case ast.Attribute(attr=name, value=value):
            return name in DEPENDENT and getattr(value, "id", None) not in OWN
        case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
            return True
        case ast.BinOp(op=ast.Pow(), left=ast.Constant(), right=ast.Constant()):
            return False
        case ast.BinOp(op=ast.Pow(), left=left):
            whole = isinstance(getattr(left, "value", None), int) or getattr(left, "id", "").isupper()
            return not whole  # x**2 of a float is the C library's pow
        case ast.Call(func=ast.Name(id="pow")):
            return True
        case ast.Call(func=ast.Attribute(attr="argsort"), keywords=keywords):  # equal numbers in an order of its own
            return all(getattr(keyword.value, "value", None) != "stable" for keyword in keywords)
    return False


@pytest.mark.parametrize("program", ["simulate", "prepare"])
def test_nothing_that_depends_on_the_processor_is_computed(program):
    found = [
        f"{module}.{name}: {ast.unparse(node)}"
        for module, name, tree in definitions(program)
        for node in ast.walk(tree)
        if dependent(node)
    ]
    assert len(definitions(program)) > 50
    assert not found


@pytest.mark.parametrize("program", ["simulate", "prepare"])
def test_nothing_of_that_kind_is_imported_by_its_name(program):
    package = Package(fingerprint.PACKAGE)
    modules = {module for module, _, _ in definitions(program)}
    foreign = {dotted for module in modules for dotted in package.module(module).imports.values()}
    assert "math.sqrt" in foreign or "numpy" in foreign
    names = [dotted.split(".") for dotted in foreign if dotted.startswith(("math.", "numpy.", "scipy."))]
    assert not [name for name in names if name[-1] in DEPENDENT]


@pytest.mark.parametrize(
    "text",
    [
        "np.exp(x)",
        "x @ y",
        "x**2",
        "10.0**n",
        "pow(x, y)",
        "rng.poisson(3)",
        "math.log(2)",
        "np.argsort(x)",
        "np.argsort(x, kind='quicksort')",
    ],
)
def test_what_depends_on_the_processor_is_found(text):
    assert any(dependent(node) for node in ast.walk(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["portable.exp(x)", "draws.poisson(rng, 3)", "x * x", "2**n", "SIDE**2", "np.argsort(x, kind='stable')"]
)
def test_what_does_not_is_not(text):
    assert not any(dependent(node) for node in ast.walk(ast.parse(text)))
