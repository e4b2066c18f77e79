export * from "../../../src/testing/backend/internal/shop.ts"
