"""What the invented organisations offer: titles, categories and places."""

from __future__ import annotations

from typing import NamedTuple


class Theme(NamedTuple):
    """One line of an organisation's programme; offerings are its runs in different places.

    ``category`` and ``kind`` are this sandbox's own words; each partner has its own codes for them.
    """

    title: str
    category: str
    kind: str
    about: str


PLACES: tuple[tuple[str, str, str], ...] = (
    ("Leeds", "Harehills Library", "LS8 5AA"),
    ("Bradford", "Manningham Mills Centre", "BD9 5BE"),
    ("Bristol", "Easton Community Hall", "BS5 0SQ"),
    ("Cardiff", "Butetown Pavilion", "CF10 5HS"),
    ("Glasgow", "Govanhill Hub", "G42 8BS"),
    ("Newcastle", "Byker Café", "NE6 1AF"),
    ("Hull", "Orchard Park Centre", "HU6 9BX"),
    ("Plymouth", "Stonehouse Quay", "PL1 3RP"),
)

HOPEWORKS: tuple[Theme, ...] = (
    Theme("CV clinic", "cv", "workshop", "Bring your CV, leave with one an employer reads to the end."),
    Theme("Interview clothes for job starters", "clothing", "service", "A fitted outfit, yours to keep."),
    Theme("Practice interviews with local employers", "interview", "workshop", "Two real panels."),
    Theme("Ready for Work", "training", "program", "Eight weeks of skills, confidence and a work placement."),
    Theme(
        "Apprenticeship sign-up help", "apprenticeship", "service", "We find the vacancy and apply with you."
    ),
    Theme("Back to college", "college", "program", "Choosing a course, applying and paying for it."),
    Theme("Community pantry", "food", "service", "A week's shopping for £4.50 while you train."),
    Theme("Warm meals on class days", "food", "service", "Free hot lunch for learners and children."),
    Theme("Room to start: supported housing", "housing", "service", "A room for up to twelve months."),
    Theme("Crèche during courses", "childcare", "service", "Ofsted-registered care next to the classroom."),
    Theme("Job coach", "mentoring", "mentorship", "One coach, six months, as often as it helps."),
    Theme("Forklift licence", "training", "course", "Five days, test fee included."),
    Theme("Benefits while working: a guide", "other", "resource", "What changes when you start a job."),
)

CODEBRIDGE: tuple[Theme, ...] = (
    Theme("Python from zero", "training", "course", "Variables to web scraper in ten evenings."),
    Theme("Front-end bootcamp", "training", "program", "HTML, CSS, TypeScript and a portfolio."),
    Theme("Data analysis with spreadsheets and SQL", "training", "course", "Questions, tables, answers."),
    Theme("Software tester apprenticeship", "apprenticeship", "apprenticeship", "Level 4, 18 months, paid."),
    Theme("Cloud support apprenticeship", "apprenticeship", "apprenticeship", "Level 3, 15 months, paid."),
    Theme("Foundation year: computing", "college", "program", "With Severn College; leads to an HND."),
    Theme("GitHub profile and CV night", "cv", "workshop", "Show what you built."),
    Theme("Whiteboard interviews without fear", "interview", "workshop", "Pairs, feedback, biscuits."),
    Theme("Cyber security essentials", "training", "course", "Threats, logs and the first hour."),
    Theme("JavaScript next steps", "training", "course", "Promises, tests and a small API."),
    Theme("Digital basics for parents", "other", "workshop", "Forms, e-mail, staying safe."),
    Theme("Accessible design", "training", "course", "WCAG by doing; naïve designs welcome."),
)

MENTORNET: tuple[Theme, ...] = (
    Theme("Mentoring for career changers", "mentoring", "mentorship", "Meet a mentor <b>once a week</b>."),
    Theme("First job mentoring, 16 to 24", "mentoring", "mentorship", "Someone who has been there."),
    Theme("Women into engineering", "mentoring", "program", "A circle of ten with two mentors."),
    Theme("Mock interviews by phone", "interview", "workshop", "45 minutes, written feedback."),
    Theme("CV & covering letter surgery", "cv", "service", "Send it Monday, back on Thursday."),
    Theme("Suit library", "clothing", "service", "Borrow for the day, £5 cleaning."),
    Theme("Which course? Guidance talks", "training", "workshop", "Plain advice about training."),
    Theme("College buddy", "college", "mentorship", "A student shows you round for a term."),
    Theme("Apprentice to apprentice", "apprenticeship", "mentorship", "Second years mentor first years."),
    Theme("Mentoring for new parents", "childcare", "program", "With a crèche at every meeting."),
    Theme("A home first", "housing", "service", "Advice on deposits and tenancies."),
    Theme("Travel and tea money", "food", "service", "Small grants for mentees, up to £25."),
    Theme("Mentee handbook", "other", "resource", "How to get the most out of it."),
)

SKILLSFILE: tuple[Theme, ...] = (
    Theme("Food hygiene level 2", "food", "course", "One day, certificate the same week."),
    Theme("Warehouse skills", "training", "course", "Picking, packing and a forklift taster."),
    Theme("CV in an hour", "cv", "workshop", "Bring what you have; naïve drafts welcome."),
    Theme("Interview practice by phone", "interview", "workshop", "Twenty minutes and honest feedback."),
    Theme("Customer service", "training", "course", "Four mornings, £0, crèche next door."),
    Theme("Getting around town", "other", "resource", "Maps, passes and night buses."),
)

LEARNSTORE: tuple[Theme, ...] = (
    Theme("First aid at work", "training", "course", "Online theory, one practical day."),
    Theme("Safeguarding basics", "training", "course", "Ninety minutes, at your own pace."),
    Theme("Everyday spreadsheets", "training", "course", "Sums, lists and one chart."),
)

THEMES: dict[str, tuple[Theme, ...]] = {
    "hopeworks": HOPEWORKS,
    "codebridge": CODEBRIDGE,
    "mentornet": MENTORNET,
    "skillsfile": SKILLSFILE,
    "learnstore": LEARNSTORE,
}
