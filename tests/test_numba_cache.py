"""The folder of compiled code, which the processes of the suite fill side by side."""

from numba.core.caching import IndexDataCacheFile


def test_versions_saved_at_the_same_time_are_kept_apart(tmp_path, monkeypatch):
    """Another process saves one when this one has written its index, and not yet its code."""
    ours, theirs = (IndexDataCacheFile(str(tmp_path), "function", "stamp") for _ in range(2))
    save_index = ours._save_index

    def interrupted(overloads):
        save_index(overloads)
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 0)
            other.setattr(theirs, "_load_index", dict)  # it read the index before
            theirs.save("float32", "code for float32")

    monkeypatch.setattr(ours, "_save_index", interrupted)
    ours.save("float64", "code for float64")
    assert theirs.load("float32") == "code for float32"
