package archtest

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// link matches the target of a Markdown link, without what follows a #.
var link = regexp.MustCompile(`\]\(([^)#\s]+)`)

// Links finds links of Markdown files to files that are not there. Addresses elsewhere are left alone.
func Links(fsys fs.FS) (bad []Violation, err error) {
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && ignored(d.Name()):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".md":
			return nil
		}
		text, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := fs.Stat(fsys, path.Join(path.Dir(p), m[1])); err != nil {
				bad = append(bad, Violation{p, fmt.Sprintf("leads to %s, which is not there", m[1])})
			}
		}
		return nil
	})
	return bad, err
}
