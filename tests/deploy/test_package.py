"""A package's place says what is in it."""

from llm_audit.deploy.package import Package, template_key


def test_the_same_files_have_the_same_place_in_whatever_order():
    one = Package({"a.yaml": b"1", "b.zip": b"2"})
    assert one.prefix == Package({"b.zip": b"2", "a.yaml": b"1"}).prefix
    assert list(one.objects()) == [(f"{one.prefix}/a.yaml", b"1"), (f"{one.prefix}/b.zip", b"2")]


def test_any_difference_of_names_or_contents_gives_another_place():
    places = {
        Package(files).prefix
        for files in (
            {"a": b"1", "b": b"2"},
            {"a": b"2", "b": b"1"},
            {"a": b"1"},
            {"ab": b"1"},
            {"a": b"b1"},
            {},
        )
    }
    assert len(places) == 6


def test_a_prefix_is_what_the_template_allows():
    prefix = Package({"a": b"1"}).prefix
    assert prefix.replace("/", "").isalnum()
    assert template_key(b"x").startswith("templates/")
