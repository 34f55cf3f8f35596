import threading

from leukonca.cli import fetch, main

from .server import Archives


def test_two_at_once_fetch_once(acevedo20: Archives, tmp_path, monkeypatch):
    said: list[str] = []  # threads that print at once lose each other's words
    monkeypatch.setattr(fetch, "say", lambda text, **_: said.append(text))
    words = ["data", "get", "acevedo20", "--to", str(tmp_path / "there"), "--mirror", acevedo20.address]
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(main(words))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0]
    assert len(acevedo20.downloads()) == 1
    assert sum("is complete and sound; nothing to do" in text for text in said) == 2
