package escrow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Market is a day's trade: who wants to buy what from whom, and what everybody has in the morning, which is not enough for all of it.
type Market struct {
	Orders  []Order
	Opening map[string][]Account // by party
}

// plenty is how much of the coins and goods that all orders together ask for there are, in per cent; some have only scant.
const (
	plenty = 90
	scant  = 40
)

// buyers by name. The first is poor.
var buyers = []string{"ann", "ben", "cleo", "dan", "eve", "finn", "gail", "hugo"}

// shelves are what the sellers sell. Of the first there is little.
var shelves = []struct {
	seller, item string
	price        int64
}{
	{"iris", "bicycle", 150},
	{"iris", "scooter", 75},
	{"jack", "chair", 40},
	{"jack", "table", 90},
	{"kim", "kettle", 25},
	{"kim", "lamp", 12},
}

// NewMarket makes up a market of so many orders. The same seed makes the same one.
func NewMarket(orders int, seed uint64) *Market {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := &Market{Opening: map[string][]Account{TheEscrow: nil}}
	coins, goods := map[string]int64{}, map[int]int64{}
	for i := range orders {
		shelf := rng.IntN(len(shelves))
		s := shelves[shelf]
		o := Order{
			Purchase: fmt.Sprintf("purchase-%06d", i+1),
			Buyer:    buyers[rng.IntN(len(buyers))],
			Seller:   s.seller, Item: s.item, Quantity: 1 + rng.Int64N(3),
		}
		o.Price = o.Quantity * s.price
		coins[o.Buyer] += o.Price
		goods[shelf] += o.Quantity
		m.Orders = append(m.Orders, o)
	}
	for _, name := range slices.Sorted(maps.Keys(coins)) {
		m.open(Bank, name, Coins, share(coins[name], name == buyers[0]))
	}
	for _, shelf := range slices.Sorted(maps.Keys(goods)) {
		m.open(Shop, shelves[shelf].seller, shelves[shelf].item, share(goods[shelf], shelf == 0))
	}
	return m
}

func (m *Market) open(party, owner, asset string, amount int64) {
	m.Opening[party] = append(m.Opening[party], Account{Owner: owner, Asset: asset, Opening: amount})
}

func share(all int64, little bool) int64 {
	if little {
		return all * scant / 100
	}
	return all * plenty / 100
}
