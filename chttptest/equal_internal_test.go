package chttptest

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/certifiedhttp/chttp"
)

type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(b []byte, v any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(v) }

// cents is equal to others that mean the same.
type cents struct{ Units, Scale int }

func (c cents) MarshalJSON() ([]byte, error) { return json.Marshal(c.Units * c.Scale) }

func (c *cents) UnmarshalJSON(b []byte) error {
	c.Scale = 1
	return json.Unmarshal(b, &c.Units)
}

func (c cents) Equal(d cents) bool { return c.Units*c.Scale == d.Units*d.Scale }

// lossy writes less than it holds.
type lossy struct{ A, B int }

func (l lossy) MarshalText() ([]byte, error)  { return []byte{byte('0' + l.A)}, nil }
func (l *lossy) UnmarshalText(b []byte) error { l.A = int(b[0] - '0'); return nil }

type inner struct{ Exported, hidden int }

type outer struct {
	Inner   inner
	Pointer *inner
	List    []inner
	Skipped int `json:"-"`
	at      time.Time
}

func TestTheCodecIsFoundToLoseWhatItLoses(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatalf("the time zones are not there: %v", err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC)
	for _, c := range []struct {
		name  string
		value any
		codec chttp.Codec
		want  string // in what is found; none: nothing is
	}{
		{"string", "x", nil, ""},
		{"bytes", []byte{0, 255}, nil, ""},
		{"number", int64(math.MaxInt64), nil, ""},
		{"fraction", 0.1, nil, ""},
		{"empty slice", []int{}, nil, ""},
		{"nil slice", []int(nil), nil, ""},
		{"nil map of nil", map[string][]int{"a": nil}, nil, ""},
		{"map of ints", map[int]string{1: "a"}, nil, ""},
		{"duration", time.Second, nil, ""},
		{"UTC", now, nil, ""},
		{"local", now.Local(), nil, ""},
		{"monotonic", time.Now(), nil, ""},
		{"location", now.In(berlin), nil, `location "Europe/Berlin" and comes back in`},
		{"locations inside", struct{ At []time.Time }{[]time.Time{now, now.In(berlin)}}, nil, ".At[1]"},
		{"zone without a name", now.In(time.FixedZone("", 3600)), nil, ""},
		{"location by gob", now.In(berlin), gobCodec{}, "Europe/Berlin"},
		{"infinity by gob", math.Inf(1), gobCodec{}, ""},
		{"not a number by gob", math.NaN(), gobCodec{}, ""},
		{"any of an int", struct{ V any }{5}, nil, ".V holds int(5) and comes back as float64(5)"},
		{"any of a float", struct{ V any }{5.5}, nil, ""},
		{"map of any", map[string]any{"a": 1}, nil, `["a"] holds int(1)`},
		{"any of a struct", struct{ V any }{inner{1, 0}}, nil, ".V holds"},
		{"any of nil", struct{ V any }{}, nil, ""},
		{"unexported", inner{1, 2}, nil, ".hidden is not exported, and is lost"},
		{"unexported and zero", inner{1, 0}, nil, ""},
		{"unexported inside", outer{Inner: inner{1, 2}}, nil, ".Inner.hidden"},
		{"unexported behind a pointer", outer{Pointer: &inner{1, 2}}, nil, ".Pointer.hidden"},
		{"unexported in a list", outer{List: []inner{{}, {1, 2}}}, nil, ".List[1].hidden"},
		{"unexported time", outer{at: now}, nil, ".at is not exported"},
		{"left out", outer{Skipped: 1}, nil, `.Skipped is left out (json:"-")`},
		{"raw JSON", json.RawMessage(`{"a": 1}`), nil, ""},
		{"big number", big.NewInt(math.MaxInt64), nil, ""},
		{"big number by value", struct{ N big.Int }{*big.NewInt(5)}, nil, "cannot be read back"},
		{"address", netip.MustParseAddr("::1"), nil, ""},
		{"header", http.Header{"A": {"b"}}, nil, ""},
		{"URL", url.URL{Scheme: "https", Host: "a", User: url.UserPassword("u", "p")}, nil, "User"},
		{"equal by its method", cents{3, 100}, nil, ""},
		{"lost by its method", lossy{1, 2}, nil, ""}, // What it writes is all that counts of it, it says.
		{"error", struct{ Err error }{errors.New("x")}, nil, "cannot be read back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &codec{inner: codecOf(c.codec)}
			b, err := w.inner.Marshal(c.value)
			if err != nil {
				t.Fatal(err)
			}
			f := w.check(c.value, b)
			switch {
			case f == nil && c.want != "":
				t.Errorf("nothing was found, want %q", c.want)
			case f != nil && (c.want == "" || !strings.Contains(f.text, c.want)):
				t.Errorf("found %q, want %q", f.text, c.want)
			}
		})
	}
}
