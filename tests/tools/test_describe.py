from xtcav_ml.tools import describe


def test_the_network_is_told_layer_by_layer(params, capsys):
    describe.describe_network(params)
    said = capsys.readouterr().out
    for part in ("conv1", "363x284x8", "pool2", "4x3x8", "hidden1", "output", "4,452 parameters, 2,832 (64%)", "MB"):
        assert part in said
