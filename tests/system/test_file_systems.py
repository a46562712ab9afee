import pytest

from xtcav_ml.system import file_systems

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:44 / /home rw,nosuid - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/local rw - xfs /dev/sdb rw
32 22 0:45 / /sdf rw master:3 - wekafs default/fs rw
33 22 0:46 / /a\\040b rw - fuse.sshfs host:/ rw
34 22 0:47 / /again rw - lustre x rw
35 22 0:48 / /again rw - tmpfs y rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/project/results", ""),
        ("/home/you/project", "nfs4"),
        ("/home/local/you", ""),
        ("/homes", ""),
        ("/sdf/data/lcls", "wekafs"),
        ("/a b/c", "fuse.sshfs"),
        ("/again/c", ""),
    ],
)
def test_the_last_and_deepest_mount_says_whether_machines_share_a_folder(tmp_path, monkeypatch, path, kind):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mounts")
    assert file_systems.shared(type(tmp_path)(path)) == kind


def test_a_link_leads_where_it_points(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to("/home/you")
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mounts")
    assert file_systems.shared(tmp_path / "link") == "nfs4"


def test_this_machine_says_something_and_a_system_without_the_list_is_no_error(tmp_path, monkeypatch):
    assert isinstance(file_systems.shared(tmp_path), str)
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "none")
    assert file_systems.shared(tmp_path) == ""
