"""Write the generated parts of all pages: make reference."""

from tests.reference.pages import filled_pages


def main() -> None:
    for page, text in filled_pages().items():
        if page.read_text() != text:
            page.write_text(text)
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
