"""The words invented people, posts and placements are made of."""

from __future__ import annotations

DEANERIES = ("EMD", "KSS", "NTH", "WMD", "PEN", "NWN", "YHD", "EOE", "OXF", "WES", "LDN", "MER", "SEV")
"""The 13 deaneries by ESR's code; post number ``j`` of the world belongs to number ``j % 13``."""

OWNERS = {
    "EMD": "Health Education England East Midlands",
    "KSS": "Health Education England Kent, Surrey and Sussex",
    "NTH": "Health Education England North East",
    "WMD": "Health Education England West Midlands",
    "PEN": "Health Education England South West Peninsula",
    "NWN": "Health Education England North West",
    "YHD": "Health Education England Yorkshire and the Humber",
    "EOE": "Health Education England East of England",
    "OXF": "Health Education England Thames Valley",
    "WES": "Health Education England Wessex",
    "LDN": "London LETBs",
    "MER": "Health Education England Mersey",
    "SEV": "Severn Deanery",
}

SURNAMES = (
    "Achebe", "O'Neill", "Begum", "Carter", "Davies", "Evans-Price", "Fitzgerald", "Gupta", "Hughes",
    "Ibrahim", "Jones", "Khan", "Llewellyn", "Müller", "Novák", "Okafor", "Patel", "Quinn", "Rossi",
    "Smith", "Taylor", "Ueda", "van der Berg", "Williams", "Xu", "Young", "Zhang", "Ó Briain", "Mac Giolla",
    "de Souza", "Thompson",
)  # fmt: skip
FORENAMES = (
    "Amelia", "Bilal", "Chloë", "Daniel", "Emeka", "Fatima", "George", "Hannah", "Isla", "Jack", "Kavita",
    "Liam", "Mary Anne", "Nia", "Oliver", "Priya", "Rhys", "Siân", "Thomas", "Uma", "Victoria", "William",
    "Yusuf",
)  # fmt: skip
TITLES = ("Dr", "Miss", "Mr", "Mrs", "Ms")
GENDERS = ("Female", "Male")
STREETS = (
    "High Street",
    "Station Road",
    "Church Lane",
    "Victoria Road",
    "Mill Lane",
    "Park Avenue",
    "The Green",
)
TOWNS = (
    ("Leicester", "Leicestershire", "LE1"), ("Brighton", "East Sussex", "BN1"),
    ("Durham", "County Durham", "DH1"),
    ("Coventry", "West Midlands", "CV1"), ("Truro", "Cornwall", "TR1"), ("Preston", "Lancashire", "PR1"),
    ("Leeds", "West Yorkshire", "LS1"), ("Norwich", "Norfolk", "NR1"), ("Oxford", "Oxfordshire", "OX1"),
    ("Southampton", "Hampshire", "SO14"), ("London", "Greater London", "SE1"),
)  # fmt: skip
ETHNICITIES = ("A", "B", "C", "D", "H", "J", "K", "M", "N", "P", "R", "S", "Z")
BELIEFS = (
    "Christianity",
    "Islam",
    "Hinduism",
    "Atheism",
    "Other",
    "I do not wish to disclose my religion/belief",
)
ORIENTATIONS = ("Heterosexual or Straight", "Gay or Lesbian", "Bisexual", "Not stated")
DISABILITIES = ("Sensory impairment", "Long-standing illness", "Learning disability/difficulty")

TRUSTS = (
    "RTD01", "RR7EN", "RVWAE", "RTRAT", "RXPCP", "RLNGL", "J82150", "RBD01", "RDZ20", "RHM01", "RK5BC",
    "RJE01", "RRK02", "RL403", "RNS01", "RX1RA", "RWDDA", "RYR18", "RXC01", "RPA02", "RN707", "RVV01",
    "RH801", "RA901", "REF12", "RBZ12", "RM102", "RGN90", "RDE30", "RTH08",
)  # fmt: skip
SPECIALTIES = (
    ("080", "Anaesthetics"), ("800", "General Practice"), ("021", "Emergency Medicine"),
    ("060", "Paediatrics"),
    ("100", "General Surgery"), ("300", "General (Internal) Medicine"), ("700", "General Psychiatry"),
    ("027", "Trauma & Orthopaedics"), ("320", "Cardiology"), ("810", "Clinical Radiology"),
    ("502", "Obstetrics and Gynaecology"), ("130", "Ophthalmology"),
)  # fmt: skip
GRADES = (
    ("STR", "Specialty Registrar", "MS02", "Specialty Registrar ST2/ SpR2", "ST3"),
    ("GPST", "Specialty Registrar (GP)", "MS02", "Specialty Registrar ST2/ SpR2", "ST1"),
    ("FY1", "Foundation Doctor Year 1", "MS01", "Foundation House Officer 1", "F1"),
    ("CT", "Core Trainee", "MS02", "Specialty Registrar (Core Training)", "CT2"),
)
PLACEMENT_TYPES = (
    "In post", "In post", "In post", "In post", "In Post - Acting Up", "In post - Extension",
    "Parental Leave",
    "Long-term sick", "Suspended", "Phased Return", "OOPE",
)  # fmt: skip
