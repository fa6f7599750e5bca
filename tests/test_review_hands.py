"""Boxes and classes under a mouse, fingers and keys."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from review_pages import HEIGHT, WIDTH, drag, order_of, place, predictions_of, write_page


def test_a_key_that_is_held_or_pressed_while_a_box_is_dragged_decides_nothing(page: Any, tmp_path: Path) -> None:
    predictions_of(tmp_path, 30)
    path = write_page(tmp_path, "--sample", 20, "--uncertain", 0)
    page.goto(path.as_uri())
    first = next(k for k, each in enumerate(order_of(path)) if each["objects"])
    page.evaluate(f"go({first})")
    page.mouse.move(*place(page, 130, 60))
    page.mouse.down()
    page.mouse.move(*place(page, 150, 60))
    page.keyboard.press("a")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("at") == first
    page.mouse.up()
    assert page.evaluate("states.filter((each) => each.objects).length") == 1
    assert page.evaluate("states.filter((each) => each.verdict).length") == 0
    page.keyboard.down("a")
    for _ in range(5):
        page.keyboard.down("a")  # as a system repeats it
    page.keyboard.up("a")
    assert page.evaluate("states.filter((each) => each.verdict).length") == 1


def test_a_class_is_chosen_by_its_name(page: Any, tmp_path: Path) -> None:
    """Letters on the way to a class are neither that class nor keys of the page."""
    content = json.loads(predictions_of(tmp_path, 6).read_text())
    names = ["bear", "cabbage", "camel", "cat", "dove", "fox"]
    content["categories"] = [{"id": k, "name": name, "wnid": name} for k, name in enumerate(names, 1)]
    for each in content["images"]:
        del each["probabilities"]
    (tmp_path / "p.json").write_text(json.dumps(content))
    path = write_page(tmp_path, "--sample", 6, "--uncertain", 0)
    page.goto(path.as_uri())

    def choose(text: str, end: str) -> str:
        page.keyboard.press("c")
        page.keyboard.type(text, delay=20)
        page.keyboard.press(end)
        page.wait_for_timeout(20)
        return page.evaluate("data.classes[objects()[0].label]")

    assert choose("cat", "Enter") == "cat"
    assert choose("fox", "Enter") == "fox"
    assert page.evaluate("states.filter((each) => each.verdict).length") == 0
    assert choose("cam", "Escape") == "fox"
    assert page.evaluate("el('class').value") == "5"
    page.keyboard.press("c")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.evaluate("data.classes[objects()[0].label]") == "cat"
    page.keyboard.press("a")
    assert page.evaluate("states[0].verdict") == "corrected"
    assert page.evaluate("at") == 1


def test_a_class_that_is_being_chosen_is_taken_where_the_mouse_goes_on(page: Any, tmp_path: Path) -> None:
    content = json.loads(predictions_of(tmp_path, 4).read_text())
    for each in content["images"]:
        each["category_id"] = 1
    for each in content["annotations"]:
        each["category_id"] = 1
    second = content["annotations"][0] | {
        "id": 99,
        "bbox": [140.0, 70.0, 40.0, 40.0],
        "segmentation": [],
        "score": 0.01,
    }
    content["annotations"].append(second)
    (tmp_path / "p.json").write_text(json.dumps(content))
    page.goto(write_page(tmp_path, "--sample", 4, "--uncertain", 0).as_uri())
    places = page.evaluate("data.images.map((each) => each.objects.length)")
    page.evaluate(f"go({places.index(2)})")

    def labels() -> list[int]:
        return page.evaluate("objects().map((each) => each.label)")

    assert labels() == [0, 0]
    page.keyboard.press("c")
    page.keyboard.type("gr", delay=20)
    drag(page, (85, 60), (95, 65))  # the whole box
    assert labels() == [2, 0]
    page.keyboard.press("c")
    page.keyboard.type("d", delay=20)
    page.evaluate("show()")  # as where another tab has saved
    assert page.evaluate("el('class').value") == "1"
    page.click("#objects li:nth-child(2) button")
    assert labels() == [1, 0]
    assert page.evaluate("selected") == 1


def first_with_a_box(page: Any, folder: Path, count: int = 4) -> None:
    """A page of so many images, at one with a box."""
    predictions_of(folder, count)
    page.goto(write_page(folder, "--sample", count, "--uncertain", 0).as_uri())
    page.evaluate("go(data.images.findIndex((each) => each.objects.length))")


def test_an_edge_that_is_dragged_out_of_the_image_ends_at_its_border(page: Any, tmp_path: Path) -> None:
    """Also where it was grabbed a bit beside its line."""
    first_with_a_box(page, tmp_path)
    for beside in (-1.5, 0, 1.5):
        for edge, (grabbed, end, expected) in enumerate(
            [
                ((40 + beside, 60), (-60, 60), 0),
                ((85, 30 + beside), (85, -60), 0),
                ((130 + beside, 60), (260, 60), WIDTH),
                ((85, 90 + beside), (85, 200), HEIGHT),
            ]
        ):
            page.evaluate("changeObjects(image().objects.map((each) => ({ ...each })))")
            drag(page, grabbed, end)
            assert page.evaluate("objects()[0].box")[edge] == expected, (beside, edge)


def test_a_press_that_trembles_is_no_drag(page: Any, tmp_path: Path) -> None:
    first_with_a_box(page, tmp_path)
    page.keyboard.press("a")
    page.keyboard.press("ArrowLeft")
    x, y = place(page, 80, 60)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 2, y + 2)
    page.mouse.up()
    assert page.evaluate("states[at].verdict") == "accepted"
    page.mouse.down()
    page.mouse.move(x + 5, y + 5)
    page.mouse.up()
    assert page.evaluate("states[at].verdict") is None
    assert page.evaluate("objects()[0].moved")


def test_a_second_finger_leaves_the_drag_of_the_first(page: Any, tmp_path: Path) -> None:
    first_with_a_box(page, tmp_path)
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        at = [dict(zip("xy", place(page, *point), strict=True)) | {"id": k} for k, point in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    fingers("touchStart", (130, 60))
    fingers("touchMove", (140, 60))
    fingers("touchStart", (140, 60), (60, 60))
    fingers("touchMove", (150, 60), (60, 80))
    fingers("touchMove", (150, 60))  # the second one is lifted
    assert page.evaluate("drag !== null")
    page.evaluate("el('remove').click()")
    fingers("touchEnd")
    np.testing.assert_allclose(page.evaluate("objects()[0].box"), [40, 30, 150, 90], atol=1)


@pytest.mark.parametrize("closed_by", ["Escape", "Enter", "mouse"])
def test_keys_are_the_pages_after_a_list_of_classes_was_opened_and_closed(
    page: Any, tmp_path: Path, closed_by: str
) -> None:
    first_with_a_box(page, tmp_path)
    label = page.evaluate("objects()[0].label")
    page.click("#class")
    page.wait_for_function("el('class').matches(':open')")
    if closed_by == "mouse":
        page.click("#class")
    else:
        page.keyboard.press(closed_by)
    page.wait_for_function("!el('class').matches(':open')")
    at = page.evaluate("at")
    page.keyboard.press("a")
    assert page.evaluate(f"states[{at}].verdict") == "accepted"
    assert page.evaluate(f"objects({at})[0].label") == label
    assert page.evaluate("at") == at + 1


def test_letters_of_a_class_are_no_keys_of_the_page_after_a_finger_or_a_click_that_opened_nothing(
    page: Any, tmp_path: Path
) -> None:
    first_with_a_box(page, tmp_path)
    page.evaluate("el('class').dispatchEvent(new PointerEvent('pointerdown', { pointerType: 'touch', bubbles: true }))")
    page.keyboard.press("c")
    page.keyboard.type("dog", delay=20)
    page.keyboard.press("Enter")
    assert page.evaluate("data.classes[objects()[0].label]").startswith("dog")
    assert page.evaluate("states.filter((each) => each.verdict).length") == 0
    assert page.evaluate("drawing") is None


def test_undo_of_other_programs_redo_is_none(page: Any, tmp_path: Path) -> None:
    first_with_a_box(page, tmp_path)
    page.keyboard.press("x")
    page.keyboard.press("Control+Shift+Z")
    assert page.evaluate("states.filter((each) => each.verdict).length") == 1
    page.keyboard.press("Control+z")
    assert page.evaluate("states.filter((each) => each.verdict).length") == 0


def test_a_finger_that_moves_little_or_scrolls_the_list_chooses_and_moves_nothing(page: Any, tmp_path: Path) -> None:
    content = json.loads(predictions_of(tmp_path, 1).read_text())
    (only,) = content["annotations"]
    content["annotations"] = [only | {"id": k + 1, "score": 0.9 - k / 100} for k in range(30)]
    (tmp_path / "p.json").write_text(json.dumps(content))
    page.goto(write_page(tmp_path, "--sample", 1, "--uncertain", 0).as_uri())
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def swipe(x: float, y: float, by: float) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for part in (0.5, 1):
            moved = [{"x": x, "y": y + part * by}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": moved})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    swipe(*place(page, 80, 60), by=8)
    assert page.evaluate("states[0].objects") is None
    row = page.locator("#objects li").nth(4).bounding_box()
    swipe(row["x"] + 50, row["y"] + 10, by=-60)
    assert page.evaluate("selected") == 0
    page.evaluate("el('objects').scrollTop = 300")
    page.keyboard.press("m")
    assert page.evaluate("el('objects').scrollTop") == pytest.approx(300, abs=3), "it stays where it was scrolled to"


def test_keys_of_another_alphabet_are_those_of_their_place(page: Any, tmp_path: Path) -> None:
    first_with_a_box(page, tmp_path)
    for key, code in (("ф", "KeyA"), ("+", "KeyX")):  # the second is no letter of another alphabet
        pressed = f"new KeyboardEvent('keydown', {{ key: '{key}', code: '{code}', bubbles: true }})"
        page.evaluate(f"document.body.dispatchEvent({pressed})")
    assert page.evaluate("states.map((each) => each.verdict).filter(Boolean)") == ["accepted"]


def test_a_button_that_a_key_has_pressed_keeps_the_focus(page: Any, tmp_path: Path) -> None:
    first_with_a_box(page, tmp_path)
    page.focus("#accept")
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.down("Enter")  # held: only the first is a press of its own
    page.keyboard.up("Enter")
    assert page.evaluate("document.activeElement.id") == "accept"
    page.click("#reject")
    assert page.evaluate("document.activeElement.id") == ""
    assert page.evaluate("states.map((each) => each.verdict).filter(Boolean)") == ["accepted", "accepted", "rejected"]


def test_the_buttons_stay_in_sight_of_an_image_with_many_boxes_and_of_one_that_is_very_long(
    page: Any, tmp_path: Path
) -> None:
    content = json.loads(predictions_of(tmp_path, 1).read_text())
    (only,) = content["annotations"]
    content["annotations"] = [only | {"id": k + 1, "score": 0.9 - k / 100} for k in range(60)]
    (tmp_path / "p.json").write_text(json.dumps(content))
    page.goto(write_page(tmp_path, "--sample", 1, "--uncertain", 0).as_uri())
    assert page.locator("#accept").bounding_box()["y"] < 800
    for _ in range(40):
        page.keyboard.press("o")
    row, around = (page.locator(name).bounding_box() for name in ("#objects [aria-pressed=true]", "#objects"))
    assert around["y"] <= row["y"] <= around["y"] + around["height"] - row["height"] + 1
    page.evaluate("data.images[0].height = 4; layout()")
    assert page.locator("#frame").bounding_box()["height"] >= 48
