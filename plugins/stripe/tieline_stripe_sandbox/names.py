"""Words from which customers are made: names, places and small texts."""

from __future__ import annotations

__all__ = ["COUPONS", "METADATA", "PLACES", "SCRIPTS", "TLDS"]

SCRIPTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("en", ("Ada", "Jenny", "Oliver", "Grace", "Liam"), ("Lovelace", "Rosen", "O'Neill", "Hopper")),
    ("de", ("Jürgen", "Käthe", "Björn", "Zoë"), ("Müller", "Groß", "Weiß-Schäfer", "Öztürk")),
    ("fr", ("Françoise", "Noël", "Éloïse"), ("Lefèvre", "d'Aubigné", "Hœdt")),
    ("pl", ("Łukasz", "Żaneta", "Święcisław"), ("Wójcik", "Kowalczyk-Żak")),
    ("es", ("Íñigo", "Begoña", "José María"), ("Núñez", "de la Peña", "Güell")),
    ("vi", ("Nguyễn", "Thị"), ("Văn Đức", "Bích Phượng")),
    ("el", ("Ελένη", "Γιώργος"), ("Παπαδόπουλος", "Οικονόμου")),
    ("ru", ("Анна", "Фёдор", "Наталья"), ("Иванова", "Щербаков", "Подъяпольский")),
    ("ja", ("山田", "佐藤", "髙橋"), ("太郎", "花子", "さくら")),
    ("zh", ("王", "李", "歐陽"), ("小明", "秀英", "𠮷祥")),
    ("ko", ("김", "이", "박"), ("서연", "민준")),
    ("ar", ("محمد", "فاطمة"), ("الهاشمي", "بن علي")),
    ("he", ("דוד", "רחל"), ("כהן", "לוי")),
    ("hi", ("अमित", "प्रिया"), ("शर्मा", "सिंह")),
    ("th", ("สมชาย", "ศิริพร"), ("ใจดี", "แก้วมณี")),
)
"""Language, first words and second words of a name."""

PLACES: tuple[dict[str, str | None], ...] = (
    {"city": "London", "country": "GB", "line1": "12 St James Square", "postal_code": "SW1Y 4JH"},
    {"city": "San Francisco", "country": "US", "line1": "510 Townsend St", "postal_code": "94103"},
    {"city": "Köln", "country": "DE", "line1": "Ehrenstraße 7", "postal_code": "50672"},
    {"city": "Paris", "country": "FR", "line1": "3 rue de l'Élysée", "postal_code": "75008"},
    {"city": "Łódź", "country": "PL", "line1": "Piotrkowska 100", "postal_code": "90-001"},
    {"city": "東京都", "country": "JP", "line1": "千代田区丸の内1-9-1", "postal_code": "100-0005"},
    {"city": "서울특별시", "country": "KR", "line1": "세종대로 110", "postal_code": "04524"},
    {"city": "القاهرة", "country": "EG", "line1": "شارع التحرير 5", "postal_code": "11511"},
    {"city": "Москва", "country": "RU", "line1": "ул. Арбат, 1", "postal_code": "119019"},
    {"city": "Dublin", "country": "IE", "line1": "1 Grand Canal St", "postal_code": None},
)

METADATA: tuple[tuple[str, str], ...] = (
    ("source", "import-2024"),
    ("segment", "small business"),
    ("notes", "prefers e-mail; call after 10:00"),
    ("tier", "gold"),
    ("Übergabe", "über Partner"),
    ("json", '{"a": [1, 2, "drei"]}'),
    ("empty_like", " "),
    ("number", "00042"),
    ("url", "https://example.com/?q=1&r=%20"),
    ("line", "first\nsecond\tend"),
    ("quote", 'say "hi" \\ bye'),
    ("備考", "特記事項なし"),
)

TLDS = ("example.com", "example.org", "example.net")
COUPONS = ("TIE10OFF", "SPRING-25", "Z4OV52SU")
