from xtcav_ml.tools import describe


def test_the_network_is_told_layer_by_layer(params, capsys):
    describe.describe_network(params)
    said = capsys.readouterr().out
    for part in ("conv1", "182x142x8", "pool2", "4x3x16", "hidden1", "output", "8,300 parameters, 5,144 (62%)", "MB"):
        assert part in said
