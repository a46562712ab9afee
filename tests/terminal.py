"""A terminal as small as the tests need: it keeps what is on the screen, and what was there whenever a line ended."""

import re

PARTS = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def screens(text: str, width: int) -> list[list[str]]:
    """Return the lines on the screen after each part of what a program printed: control sequences, ends of lines, text.

    Lines that are longer than `width` go on in the next one. Scrolling is left out: the screen is as high as needed.
    """
    lines, row, column, shown = [""], 0, 0, []
    for numbers, command, end, words in PARTS.findall(text):
        if command == "A":
            row = max(row - int(numbers or 1), 0)
        elif command == "K":
            lines[row] = "" if numbers == "2" else lines[row][:column]
        elif end == "\r":
            column = 0
        elif end == "\n":
            row, column = row + 1, 0
        for letter in words:
            if column == width:
                row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
            before = lines[row].ljust(column)
            lines[row], column = before[:column] + letter + before[column + 1 :], column + 1
        lines += [""] * (row + 1 - len(lines))
        shown.append(list(lines))
    return shown
