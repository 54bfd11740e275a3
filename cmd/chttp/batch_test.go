package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBatchHasAMessageForEachLineThatIsNotBlank(t *testing.T) {
	for _, c := range []struct {
		name, contents string
		raw            bool
		want           string
		err            string
	}{
		{"nothing", "", false, "", ""},
		{"blank lines", "\n  \n\t\n", false, "", ""},
		{"one, not ended", `{"a":1}`, false, `1:{"a":1}`, ""},
		{"numbered as in the file", "\n1\n\n2\n", false, "2:1 4:2", ""},
		{"carriage returns", "1\r\n2\r\n", false, "1:1 2:2", ""},
		{"not JSON", "1\n{\n", false, "", "line 2 is not JSON: {"},
		{"anything", "a b\n{\n", true, "1:a b 2:{", ""},
		{"terminal escapes in an error", "\x1b[31m\n", false, "", "line 1 is not JSON: .[31m"},
		{"too long", "1\n" + strings.Repeat("1", maxLine+1), false, "", "line 2 is longer than 10 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := manyMessages("-", strings.NewReader(c.contents), c.raw, "", naming{"POST"})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			b.each(func(line int, body []byte) error {
				got = append(got, fmt.Sprintf("%d:%s", line, body))
				if b.line(b.id(line)) != line {
					t.Errorf("the id %s of line %d is that of line %d", b.id(line), line, b.line(b.id(line)))
				}
				return nil
			})
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if n := len(strings.Fields(strings.ReplaceAll(c.want, "a b", "a"))); b.count != n {
				t.Errorf("counted %d, want %d", b.count, n)
			}
			b.close()
			if _, err := os.Stat(b.spool); !os.IsNotExist(err) {
				t.Errorf("the spool %s is left over: %v", b.spool, err)
			}
		})
	}
}

func TestBatchIsNamedByWhatItSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	name := func(contents string, n naming) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := manyMessages(path, nil, false, "", n)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		return b.name
	}
	first := name("1\n2\n", naming{"POST", "http://a"})
	if again := name("1\n2\n", naming{"POST", "http://a"}); again != first {
		t.Errorf("the same: %s and %s", first, again)
	}
	for _, other := range []string{
		name("1\n3\n", naming{"POST", "http://a"}), name("1\n2\n", naming{"PUT", "http://a"}), name("1\n2\n", naming{"POST", "http://b"}),
		name("1\n2\n", naming{"POST", "http://a", "X: 1"}), name("1\n2\n", naming{"POSThttp://a"}),
	} {
		if other == first {
			t.Errorf("something else has the same name %s", first)
		}
	}
}

func TestIDsAreLongEnoughAndInTheOrderOfLines(t *testing.T) {
	for _, name := range []string{"a", "today", strings.Repeat("n", 100)} {
		b := &batch{name: name}
		last := b.prefix()
		for _, line := range []int{1, 2, 9, 10, 999_999_999} {
			id := b.id(line)
			if len(id) < minID || len(id) > 255 {
				t.Errorf("the id %q has %d characters", id, len(id))
			}
			if id <= last {
				t.Errorf("%q does not follow %q", id, last)
			}
			last = id
		}
	}
}
