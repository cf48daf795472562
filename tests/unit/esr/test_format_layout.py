"""The layouts as shipped: every file type has one, as the domain says, and an unsound one is refused."""

from __future__ import annotations

import pytest

from include.errors import FatalError
from include.esr.formats import layout
from include.esr.formats.layout import ColumnType, load_format
from include.esr.names import FileType


@pytest.mark.parametrize("file_type", FileType)
def test_every_file_type_has_a_layout(file_type):
    assert load_format(file_type).records


@pytest.mark.parametrize(
    ("file_type", "columns"),
    [
        (FileType.RMF, {"POS": 16, "POR": 13, "ASG": 12, "PER": 33, "ADD": 13, "ABS": 8, "PBD": 7}),
        (FileType.APP, {"APP": 36}),
        (FileType.APC, {"APC": 10}),
        (FileType.DNC, {"NOT": 36}),
        (FileType.DCC, {"DCC": 7}),
    ],
)
def test_lines_have_as_many_columns_as_the_domain_page_says(file_type, columns):
    records = load_format(file_type).records
    assert {code: len(record.columns) + 1 for code, record in records.items()} == columns


@pytest.mark.parametrize(
    ("code", "name", "place"),
    [
        ("POS", "deanery_number", 10),
        ("POS", "workplace_org", 16),
        ("POR", "employing_org_vpd_code", 11),
        ("ASG", "deanery_number", 8),
        ("PER", "uk_nino", 7),
        ("PER", "dob", 14),
        ("PER", "email_address", 20),
        ("PER", "religious_belief", 31),
        ("ADD", "postcode", 12),
        ("ABS", "absence_id", 8),
        ("PBD", "reg_number", 6),
    ],
)
def test_columns_stand_where_the_domain_page_says(code, name, place):
    assert load_format(FileType.RMF).records[code].place(name) == place


def test_a_vpd_code_is_text_so_that_its_zeros_stay():
    assert load_format(FileType.RMF).records["POR"].by_name["employing_org_vpd_code"].type is ColumnType.TEXT


def test_changes_and_full_files_share_a_layout():
    assert load_format(FileType.RMC) == load_format(FileType.RMF)
    assert load_format(FileType.DNF) == load_format(FileType.DNC)


@pytest.mark.parametrize(
    "text",
    [
        "records: {POS: {columns: [{name: a, type: nonsense}]}}",
        "records: {POS: {columns: [a, a]}}",
        "records: {POS: {columns: [line]}}",
        "records: {POS: {columns: [{name: a, type: integer, max_length: 3}]}}",
        "records: {POS: {columns: [{name: id, mandatory: true}], unique: id}}",
        "records: {POS: {columns: [{name: id, type: integer}], unique: id}}",
        "records: {HDR: {columns: [a]}}",
        "records: {POSITION: {columns: [a]}}",
        "records: {POS: {}}",
        "records: [",
        "positions: {}",
        "records: {POS: {columns: [{name: a, colour: red}]}}",
    ],
)
def test_an_unsound_layout_is_a_fault_of_ours(text, tmp_path, monkeypatch):
    (tmp_path / "common.yaml").write_text((layout.FOLDER / "common.yaml").read_text())
    (tmp_path / "APP.yaml").write_text(text)
    monkeypatch.setattr(layout, "FOLDER", tmp_path)
    load = layout.load_format.__wrapped__
    with pytest.raises(FatalError, match=r"APP\.yaml is not a sound layout"):
        load(FileType.APP)
