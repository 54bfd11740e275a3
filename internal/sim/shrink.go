package sim

// Shrink looks for the smallest world in which the same goes wrong as in c. fails plays a world, as often as it likes, and tells what went
// wrong: "" is nothing. It returns c itself where nothing smaller fails. more is asked before each world whether there is time for it.
func Shrink(c Config, rule string, fails func(Config) string, more func() bool) Config {
	for {
		smaller, found := shrink(c, rule, fails, more)
		if !found {
			return c
		}
		c = smaller
	}
}

func shrink(c Config, rule string, fails func(Config) string, more func() bool) (Config, bool) {
	for _, d := range c.Smaller() {
		if !more() {
			return c, false
		}
		if fails(d) == rule {
			return d, true
		}
	}
	return c, false
}
