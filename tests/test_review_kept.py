"""What a review's page keeps in the browser: over reloads, other tabs, earlier versions, a full store, and imports."""

import json
from pathlib import Path
from typing import Any

from review_pages import drag, exported, predictions_of, write_page


def test_what_a_page_of_an_earlier_version_has_kept_is_taken_up(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 6)
    page.goto(write_page(tmp_path, "--sample", 6, "--uncertain", 0).as_uri())
    old = "data.images.map((each, k) => ({ verdict: k < 3 ? 'accepted' : null, objects: null }))"
    page.evaluate(f"localStorage.setItem(OLDER_STORE, JSON.stringify({{ states: {old}, at: 3 }}))")
    page.reload()
    page.keyboard.press("x")
    page.reload()
    found = page.evaluate("states.map((each) => each.verdict)")
    assert found == ["accepted", "accepted", "accepted", "rejected", None, None]


def test_undo_leaves_what_another_tab_has_done_since(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 6)
    path = write_page(tmp_path, "--sample", 6, "--uncertain", 0)
    page.goto(path.as_uri())
    other = page.context.new_page()
    other.goto(path.as_uri())
    for key in ("a", "ArrowLeft", "x"):  # twice on the first image
        page.keyboard.press(key)
    page.keyboard.press("u")
    assert page.evaluate("states[0].verdict") == "accepted"
    other.wait_for_function("states[0].verdict === 'accepted'")
    other.evaluate("go(0)")
    other.keyboard.press("2")
    page.wait_for_function("states[0].wrong === 'box'")
    page.keyboard.press("u")
    assert "changed in another tab" in page.inner_text("#task")
    assert page.evaluate("states[0].wrong") == other.evaluate("states[0].wrong") == "box"
    other.close()


def test_what_is_done_in_another_tab_is_kept(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 9)
    path = write_page(tmp_path, "--sample", 9, "--uncertain", 0)
    page.goto(path.as_uri())
    other = page.context.new_page()
    other.goto(path.as_uri())
    for _ in range(5):
        other.keyboard.press("a")
    page.wait_for_function("states.filter((each) => each.verdict).length === 5")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")  # the second image, later than the other tab's verdict
    other.wait_for_function("states[1].verdict === 'rejected'")
    other.reload()
    verdicts = ["accepted", "rejected", *["accepted"] * 3, *[None] * 4]
    assert other.evaluate("states.map((each) => each.verdict)") == verdicts
    assert page.evaluate("states.map((each) => each.verdict)") == verdicts
    other.close()


def test_an_export_is_taken_up_by_a_page_with_more_images(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 12)
    path = write_page(tmp_path, "--sample", 6, "--uncertain", 0)
    page.goto(path.as_uri())
    for key in ("a", "x", "1"):
        page.keyboard.press(key)
    page.keyboard.press("d")
    drag(page, (20, 20), (80, 90))
    assert "1 changed, not accepted" in page.inner_text("#counts")
    found = exported(page, tmp_path)
    assert len(found["images"]) == 3
    assert "3 images to reviewed.json among the browser's downloads, without an image" in page.inner_text("#task")
    page.keyboard.press("n")
    assert page.evaluate("at") == 3, "N goes there"
    page.keyboard.press("a")
    found = exported(page, tmp_path)
    (tmp_path / "reviewed.json").write_text(json.dumps(found))
    path.rename(tmp_path / "first.html")
    page.goto(write_page(tmp_path, "--sample", 12, "--uncertain", 0).as_uri())
    page.keyboard.press("x")
    page.set_input_files("#file", tmp_path / "reviewed.json")
    page.wait_for_function("el('task').textContent.includes('in the file')")
    assert "4 images in the file: 3 taken, 1 done here already." in page.inner_text("#task")
    again = {each["file_name"]: each["review"] for each in exported(page, tmp_path)["images"]}
    before = {each["file_name"]: each["review"] for each in found["images"]}
    first = next(iter(before))
    assert again.pop(first)["verdict"] == "rejected"
    assert before.pop(first)["verdict"] == "accepted"
    assert again == before
    boxes = [each["bbox"] for each in found["annotations"] if each["image_id"] == found["images"][3]["id"]]
    assert boxes == [each["bbox"] for each in exported(page, tmp_path)["annotations"]]
    state = page.evaluate("JSON.stringify(states)")
    half = json.loads((tmp_path / "reviewed.json").read_text())
    del half["images"][-1]["review"]
    (tmp_path / "half.json").write_text(json.dumps(half))
    page.evaluate("states = states.map(() => ({ verdict: null, objects: null }))")
    page.set_input_files("#file", tmp_path / "half.json")
    page.wait_for_function("el('task').textContent.includes('has no review in it')")
    assert page.evaluate("states.every((each) => !each.verdict)"), "nothing of it is taken"
    page.evaluate(f"states = {state}")
    page.set_input_files("#file", tmp_path / "p.json")
    page.wait_for_function("el('task').textContent.includes('cannot be taken up')")


def test_an_export_is_taken_up_though_the_clock_was_set_back(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    page.keyboard.press("a")
    exported(page, tmp_path)
    page.evaluate("Date.now = (now => () => now() + 3600000)(Date.now)")
    page.keyboard.press("u")
    page.evaluate("Date.now = (now => () => now() - 7200000)(Date.now)")
    page.locator("#file").set_input_files(tmp_path / "reviewed.json")
    page.wait_for_function("document.getElementById('task').textContent.includes('1 taken')")
    assert page.evaluate("states[0].verdict") == "accepted"


def test_what_is_done_last_counts_though_the_clock_was_set_back(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    page.evaluate("Date.now = (now => () => now() + 3600000)(Date.now)")
    page.keyboard.press("a")
    page.evaluate("Date.now = (now => () => now() - 7200000)(Date.now)")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("x")
    assert page.evaluate("states[0].verdict") == "rejected"
    page.reload()
    assert page.evaluate("states[0].verdict") == "rejected"


def test_what_a_browser_keeps_damaged_is_kept_anew(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    for damaged in ("{half", '{"at":99,"states":[null,null,null]}'):
        page.evaluate(f"localStorage.setItem(STORE, '{damaged}')")
        page.reload()
        page.keyboard.press("a")
        page.reload()
        assert page.evaluate("states.filter((each) => each.verdict).length") == 1
        page.evaluate("localStorage.clear()")
        page.reload()


FILL = """() => {
  for (let length = 1 << 20, k = 0; length; length >>= 1) {
    try { for (;; k++) localStorage.setItem("other" + k, "x".repeat(length)); } catch (error) { /* less of it */ }
  }
}"""


def test_a_full_store_is_told_and_the_page_asks_before_it_is_closed(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 6)
    page.goto(write_page(tmp_path, "--sample", 6, "--uncertain", 0).as_uri())
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.keyboard.press("a")
    page.reload()
    assert asked == []
    page.evaluate(FILL)
    page.keyboard.press("x")
    page.keyboard.press("x")
    assert "no more room" in page.inner_text("#trouble")
    page.reload()
    assert asked == ["beforeunload"]
    page.keyboard.press("x")
    exported(page, tmp_path)
    page.reload()
    assert asked == ["beforeunload"], "what was exported is not lost"
    page.keyboard.press("x")
    page.evaluate(
        "Object.keys(localStorage).filter((key) => key !== STORE).forEach((key) => localStorage.removeItem(key))"
    )
    page.keyboard.press("x")
    assert page.locator("#trouble").is_hidden(), "there is room again"
    page.reload()
    assert asked == ["beforeunload"]


def test_masks_that_were_predicted_take_no_room(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    mask = page.evaluate("objects()[0].counts")
    page.keyboard.press("c")
    page.keyboard.type("gr", delay=20)
    page.keyboard.press("Enter")
    if page.evaluate("states[0].objects") is None:  # it was of that class
        page.keyboard.press("c")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
    assert mask not in page.evaluate("localStorage.getItem(STORE)")
    page.reload()
    assert page.evaluate("states[0].objects[0].counts") == mask
    page.keyboard.press("a")
    assert exported(page, tmp_path)["annotations"][0]["segmentation"]["counts"] == mask


def test_what_was_done_before_a_reload_can_be_undone(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    assert page.locator("#undo").is_disabled()
    predicted = page.evaluate("objects()")
    page.keyboard.press("Delete")
    page.reload()
    assert page.evaluate("objects()") == []
    page.locator("#undo").click()
    assert page.evaluate("objects()") == predicted
    assert page.evaluate("states[0].objects") is None
    assert "Undo brings it back" in page.inner_text("#task")
    page.keyboard.press("u")
    assert page.evaluate("objects()") == [], "which can be undone too"
    page.keyboard.press("u")
    assert page.inner_text("#task") == "There is nothing to undo."


def test_undo_with_nothing_to_undo_leaves_what_another_tab_does(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    path = write_page(tmp_path, "--sample", 3, "--uncertain", 0)
    page.goto(path.as_uri())
    other = page.context.new_page()
    other.goto(path.as_uri())
    other.keyboard.press("x")
    page.wait_for_function("states[0].verdict === 'rejected'")
    page.keyboard.press("u")
    assert page.inner_text("#task") == "There is nothing to undo."
    assert page.evaluate("states[0].verdict") == "rejected"
    other.close()


def test_an_export_that_leaves_something_out_is_not_all_that_is_asked_about(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 3)
    page.goto(write_page(tmp_path, "--sample", 3, "--uncertain", 0).as_uri())
    page.evaluate(FILL)
    page.keyboard.press("Delete")
    exported(page, tmp_path)
    assert page.evaluate("unsaved")
    page.keyboard.press("x")
    exported(page, tmp_path)
    assert not page.evaluate("unsaved")
    page.locator("#file").set_input_files(tmp_path / "reviewed.json")
    page.wait_for_function("document.getElementById('task').textContent.includes('done here already')")
    assert not page.evaluate("unsaved"), "nothing was taken"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    assert page.evaluate("unsaved")


def test_a_mask_of_no_known_number_is_none(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 1)
    page.goto(write_page(tmp_path, "--sample", 1, "--uncertain", 0).as_uri())
    state = {"verdict": None, "time": 9, "objects": [{"label": 0, "box": [1, 1, 9, 9], "score": None, "maskOf": 99}]}
    page.evaluate("(state) => localStorage.setItem(STORE, JSON.stringify({ states: [state], at: 0 }))", state)
    page.reload()
    assert page.evaluate("objects()[0].counts") is None
    page.keyboard.press("a")
    page.reload()
    assert page.evaluate("states[0].verdict") == "corrected"


def test_an_export_with_a_box_beyond_the_image_is_taken_up_within_it(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 1)
    page.goto(write_page(tmp_path, "--sample", 1, "--uncertain", 0).as_uri())
    drag(page, (130, 60), (150, 60))
    page.keyboard.press("a")
    found = exported(page, tmp_path)
    assert "Exported 1 image to reviewed.json" in page.inner_text("#task")
    found["annotations"][0]["bbox"] = [40.0, 30.0, 166.15, 60.0]
    (tmp_path / "older.json").write_text(json.dumps(found))
    page.keyboard.press("u")
    page.keyboard.press("u")
    page.locator("#file").set_input_files(tmp_path / "older.json")
    page.wait_for_function("document.getElementById('task').textContent.includes('1 taken')")
    assert page.evaluate("objects()[0].box") == [40, 30, 200, 90]
